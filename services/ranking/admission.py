"""Who is let in: calls beyond what can be answered in time are refused at once. Pure.

One event loop works through the calls in flight, so a new one waits for about all of them: it is
refused when their number is over the limit, or when it could not be done before its deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from services.ranking.budget import Budget

PUSH_BACK_MS: Final = 100  # when a refused client may ask again
_SMOOTHING: Final = 0.05
_FIRST_GUESS_S: Final = 0.002


class Overloaded(Exception):
    """Refused; the text says why."""


class Admission:
    """Counts calls in flight and how long this process works on one."""

    def __init__(self, at_most: int, clock: Callable[[], float]) -> None:
        """clock: seconds, steady."""
        self.in_flight = 0
        self._at_most = at_most
        self._clock = clock
        self._work_s = _FIRST_GUESS_S

    @contextmanager
    def entered(self, left_s: float, spent: Budget) -> Iterator[None]:
        """Hold a place while a call is answered; left_s: until its deadline. Raises Overloaded."""
        if self.in_flight >= self._at_most:
            raise Overloaded(f"{self.in_flight} calls in flight, at most {self._at_most} may be")
        wait_s = self.in_flight * self._work_s
        if self.in_flight and wait_s > left_s:
            raise Overloaded(
                f"{self.in_flight} calls in flight: about {wait_s * 1e3:.0f} ms of work,"
                f" with {left_s * 1e3:.0f} ms left"
            )
        self.in_flight += 1
        began_s = self._clock()
        try:
            yield
        finally:
            self.in_flight -= 1
            worked_s = self._clock() - began_s - spent.waited_s
            # Of calls at once each counts the others' work too, so a share of it is its own.
            own_s = worked_s / (self.in_flight + 1)
            self._work_s += _SMOOTHING * (own_s - self._work_s)
