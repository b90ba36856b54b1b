"""Keep a request's deadline: what is left, what its stages took, what had to be left out. Pure.

Times are seconds of a steady clock that is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

RESERVE_S: Final = 0.002  # kept for the reply and its way back
_SMOOTHING: Final = 0.1  # weight of the newest measurement in a cost

Answer = TypeVar("Answer")


class Costs:
    """What each piece of work took of late, in seconds, to know what still fits."""

    def __init__(self) -> None:
        self._recent: dict[str, float] = {}

    def of(self, work: str) -> float:
        """Return the recent cost of a piece of work; 0 before it was ever done."""
        return self._recent.get(work, 0.0)

    def note(self, work: str, took_s: float) -> None:
        """Take a measurement into account."""
        before = self._recent.get(work, took_s)
        self._recent[work] = before + _SMOOTHING * (took_s - before)


class Deadline:
    """One request's time until its deadline, stage by stage."""

    def __init__(self, deadline_s: float, clock: Callable[[], float], costs: Costs) -> None:
        """deadline_s: on `clock`."""
        self.degraded: list[str] = []
        self.timings: list[tuple[str, float]] = []  # stage, seconds
        self.waited_s = 0.0  # for others: time in which this process was free
        self._deadline_s = deadline_s
        self._clock = clock
        self.costs = costs
        self._stage_began_s = clock()
        self._whole_s = deadline_s - self._stage_began_s

    def left_s(self) -> float:
        """Return the time until the deadline less what the reply needs; below 0 it is over."""
        return self._deadline_s - RESERVE_S - self._clock()

    def share_s(self, share: float) -> float:
        """Return a read's time-out: a share of the whole time, at most half of what is left."""
        return min(share * self._whole_s, 0.5 * self.left_s())

    def affords(self, work: str, reason: str) -> bool:
        """Say whether there is time for a piece of work; where not, note why it is left out."""
        if self.left_s() > 1.5 * self.costs.of(work):
            return True
        self.leave_out(reason)
        return False

    def leave_out(self, reason: str) -> None:
        """Note what the reply does without."""
        if reason not in self.degraded:
            self.degraded.append(reason)

    async def waiting(self, for_whom: Awaitable[Answer]) -> Answer:
        """Await something, and note how long that took."""
        began_s = self._clock()
        try:
            return await for_whom
        finally:
            self.waited_s += self._clock() - began_s

    def end(self, stage: str) -> None:
        """Note that a stage ended now; the next one begins."""
        now_s = self._clock()
        took_s = now_s - self._stage_began_s
        self._stage_began_s = now_s
        self.costs.note(stage, took_s)
        self.timings.append((stage, took_s))
