"""Bound what one caller may ask for in a second, so that one cannot crowd out the others."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from freshet.errors import Overloaded

CALLERS_AT_MOST: Final = 10_000


class _Bucket(NamedTuple):
    """How many calls a caller had left, and when that was."""

    left: float
    at_s: float


class Quotas:
    """Keeps a bucket of calls for each caller, which fills at a rate and holds a second's worth.

    Of more callers than it has places for, who was not heard of for longest is forgotten.
    """

    def __init__(
        self,
        per_s: float,
        *,
        callers_at_most: int = CALLERS_AT_MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds, steady."""
        self._per_s = per_s
        self._holds = max(1.0, per_s)
        self._callers_at_most = callers_at_most
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count a call. Raises Overloaded, with when the next one is let in."""
        now_s = self._clock()
        bucket = self._buckets.get(caller)
        left = self._holds
        if bucket is not None:
            left = min(self._holds, bucket.left + (now_s - bucket.at_s) * self._per_s)
        let_in = left >= 1
        self._buckets[caller] = _Bucket(left - let_in, now_s)
        self._buckets.move_to_end(caller)  # also where it is refused: who goes on is remembered
        if len(self._buckets) > self._callers_at_most:
            self._buckets.popitem(last=False)
        if not let_in:
            raise Overloaded(
                f"at most {self._per_s:g} calls a second of one caller", (1 - left) / self._per_s
            )

    def __len__(self) -> int:
        return len(self._buckets)
