"""Keep which items are published without their picture, and when each is tried again. Pure."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 5.0  # after that long an item is tried again, then after twice that, and so on
LATEST_S: Final = 3600.0  # but at least that often
NOTED_AT_MOST: Final = 100_000  # items; about 300 bytes each


@dataclass(slots=True)
class _Missing:
    error_class: str
    due_s: float  # infinite: no try would mend it
    wait_s: float = FIRST_S


class MissingPictures:
    """Notes what `item-vectors` says of pictures; times are seconds of any steady clock."""

    def __init__(self, at_most: int = NOTED_AT_MOST) -> None:
        self.counts: Counter[str] = Counter()  # items without their picture, by the reason's class
        self.left_out = 0  # items that found this full: they wait for their next update
        self._at_most = at_most
        self._missing: dict[str, _Missing] = {}
        self._due: list[tuple[float, str]] = []  # a heap; what does not agree with the note is old

    def note(self, item_id: str, reason: str, by_uri: bool, now_s: float) -> None:
        """Take in what counts of an item: why its picture is missing; empty: it is not.

        by_uri: it lies behind an address, and may come to be there.
        """
        before = self._missing.pop(item_id, None)
        if before is not None:
            self.counts[before.error_class] -= 1
        if not reason:
            return
        if len(self._missing) >= self._at_most:
            self.left_out += 1
            return
        wait_s = FIRST_S if before is None else before.wait_s
        due_s = now_s + wait_s if by_uri else math.inf
        self._missing[item_id] = missing = _Missing(reason.partition(":")[0], due_s, wait_s)
        self.counts[missing.error_class] += 1
        self._wait(item_id, due_s)

    def due(self, now_s: float) -> Iterator[str]:
        """Yield the items that are to be tried again now; each waits twice as long for its next."""
        while self._due and self._due[0][0] <= now_s:
            due_s, item_id = heapq.heappop(self._due)
            missing = self._missing.get(item_id)
            if missing is None or missing.due_s != due_s:
                continue
            missing.wait_s = min(2 * missing.wait_s, LATEST_S)
            missing.due_s = now_s + missing.wait_s
            self._wait(item_id, missing.due_s)
            yield item_id

    def _wait(self, item_id: str, due_s: float) -> None:
        if due_s < math.inf:
            heapq.heappush(self._due, (due_s, item_id))
