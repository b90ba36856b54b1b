"""Which calls are let in: those that can be answered in time. Pure.

Items are encoded one after the other, about, so a call waits for those that were let in before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PUSH_BACK_MS: Final = 250  # when a refused client may ask again
_SMOOTHING: Final = 0.1
_FIRST_GUESS_S: Final = 0.01


class Overloaded(Exception):
    """Refused; the text says why."""


class Admission:
    """Counts items (a query is one) in flight, and learns how long one takes."""

    def __init__(self, items_at_most: int) -> None:
        self.in_flight = 0
        self._at_most = items_at_most
        self._item_s = _FIRST_GUESS_S

    @contextmanager
    def enter(self, items: int, left_s: float) -> Iterator[None]:
        """Let a call with so many items in, if it can be done in the time left.

        Raises Overloaded.
        """
        wait_s = self.in_flight * self._item_s
        if self.in_flight and self.in_flight + items > self._at_most:
            raise Overloaded(
                f"{self.in_flight} items are in flight, at most {self._at_most} may be"
            )
        if self.in_flight and wait_s > left_s:
            raise Overloaded(
                f"{self.in_flight} items in flight: about {wait_s * 1e3:.0f} ms of work, "
                f"with {left_s * 1e3:.0f} ms left"
            )
        self.in_flight += items
        try:
            yield
        finally:
            self.in_flight -= items

    def took(self, items: int, in_front: int, took_s: float) -> None:
        """Note that a call took so long, with so many items in front of it."""
        self._item_s += _SMOOTHING * (took_s / (items + in_front) - self._item_s)
