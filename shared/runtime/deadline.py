"""Keep a request's deadline: what is left, what its stages took, what had to be left out. Pure.

Times are seconds of a steady clock that is handed in.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol, TypeVar

RESERVE_S: Final = 0.002  # kept for the reply and its way back
HOLD_S: Final = 0.005  # that a call may hold the event loop while others wait
COLD: Final = 3  # measurements of which the least counts, as first ones find cold caches
FADE_S: Final = 10.0  # in which a cost that nobody measures is taken to be half of it
_MARGIN: Final = 1.5  # over its cost, that a piece of work must fit by
_SMOOTHING: Final = 0.1  # weight of the newest measurement in a cost

Answer = TypeVar("Answer")


class Cost:
    """What a piece of work took of late, in seconds; it fades while nobody measures it.

    Work that is left out for its cost is measured by nobody, so it would be left out for ever. Once
    the faded cost fits, one caller has a trial, and all others wait for what it measures.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.recent_s = 0.0  # as it was measured last, 0 before that
        self._clock = clock
        self._measured = 0
        self._measured_at_s = self._tried_at_s = -math.inf

    @property
    def known(self) -> bool:
        """Whether it was measured often enough to be believed."""
        return self._measured >= COLD

    def fits(self, within_s: float) -> bool:
        """Say whether the work is likely to be done within a time, or shall be tried now."""
        if within_s <= 0:
            return False
        if not self.known or self.recent_s < within_s:
            return True
        now_s = self._clock()
        if self.recent_s * _faded(now_s - max(self._measured_at_s, self._tried_at_s)) >= within_s:
            return False
        self._tried_at_s = now_s
        return True

    def note(self, took_s: float) -> None:
        """Take a measurement into account: the more, the older those before are."""
        now_s = self._clock()
        if self.known:
            before = (1 - _SMOOTHING) * _faded(now_s - self._measured_at_s)
            self.recent_s = before * self.recent_s + (1 - before) * took_s
        else:
            self.recent_s = min(took_s, self.recent_s) if self._measured else took_s
        self._measured += 1
        self._measured_at_s = now_s


class Costs:
    """The cost of each piece of work, by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._costs: dict[str, Cost] = {}

    def of(self, work: str) -> Cost:
        """Return the cost of a piece of work."""
        cost = self._costs.get(work)
        if cost is None:
            cost = self._costs[work] = Cost(self._clock)
        return cost

    def clear(self) -> None:
        """Begin anew, as all of the work has become another."""
        self._costs.clear()


def _faded(unmeasured_s: float) -> float:
    """Return the share of a cost that is left of it while nobody measures it."""
    return math.exp2(-unmeasured_s / FADE_S)


class Place(Protocol):
    """A call's place among those in flight."""

    def rest(self) -> None:
        """Note that the call waits for others."""
        ...

    def go_on(self) -> None:
        """Note that it waits no more."""
        ...

    def outside(self, left_s: Callable[[], float]) -> AbstractContextManager[None]:
        """Leave the place to others for a while. Raises Overloaded, also at the end."""
        ...


class Deadline:
    """One request's time until its deadline, stage by stage."""

    def __init__(self, deadline_s: float, clock: Callable[[], float], costs: Costs) -> None:
        """deadline_s: on `clock`."""
        self.degraded: list[str] = []
        self.timings: list[tuple[str, float]] = []  # stage, seconds
        self.place: Place | None = None  # None: nobody counts the calls
        self._deadline_s = deadline_s
        self._clock = clock
        self.costs = costs
        self._stage_began_s = self._holding_since_s = clock()
        self._whole_s = deadline_s - self._stage_began_s

    def left_s(self) -> float:
        """Return the time until the deadline less what the reply needs; below 0 it is over."""
        return self._deadline_s - RESERVE_S - self._clock()

    def share_s(self, share: float) -> float:
        """Return a read's time-out: a share of the whole time, at most half of what is left."""
        return min(share * self._whole_s, 0.5 * self.left_s())

    def affordable_s(self) -> float:
        """Return how long a piece of work may take so that the others still fit."""
        return self.left_s() / _MARGIN

    def affords(self, cost: Cost, reason: str) -> bool:
        """Say whether there is time for a piece of work; where not, note why it is left out."""
        if cost.fits(self.affordable_s()):
            return True
        self.leave_out(reason)
        return False

    @contextmanager
    def measuring(self, cost: Cost) -> Iterator[None]:
        """Note what a piece of work costs that is done here and now."""
        began_s = self._clock()
        try:
            yield
        finally:
            cost.note(self._clock() - began_s)

    def leave_out(self, reason: str) -> None:
        """Note what the reply does without."""
        if reason not in self.degraded:
            self.degraded.append(reason)

    async def waiting(self, for_whom: Awaitable[Answer]) -> Answer:
        """Await something while this process is free for other calls."""
        if self.place is not None:
            self.place.rest()
        try:
            return await for_whom
        finally:
            if self.place is not None:
                self.place.go_on()
            self._holding_since_s = self._clock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work while another part of the call waits."""
        if self.place is not None:
            self.place.go_on()
        try:
            yield
        finally:
            if self.place is not None:
                self.place.rest()

    async def turn(self) -> None:
        """Let other calls go on between pieces of long work, where it has held the loop for long.

        Raises TimeoutError where the deadline is over then: nobody waits for the rest.
        """
        if self._clock() - self._holding_since_s > HOLD_S:
            await self.waiting(asyncio.sleep(0))
            if self._holding_since_s > self._deadline_s:
                raise TimeoutError

    def outside(self) -> AbstractContextManager[None]:
        """Wait without a place among the calls in flight. Raises Overloaded, also at the end."""
        return nullcontext() if self.place is None else self.place.outside(self.left_s)

    def end(self, stage: str) -> None:
        """Note that a stage ended now; the next one begins."""
        now_s = self._clock()
        took_s = now_s - self._stage_began_s
        self._stage_began_s = now_s
        self.timings.append((stage, took_s))
