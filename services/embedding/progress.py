"""What of a partition is done, and up to where it may be acknowledged. Pure.

Records are finished in any order; only the contiguous prefix of finished ones is acknowledged, so
that after a crash nothing unfinished is skipped.
"""

from __future__ import annotations

from collections import deque


class Progress:
    """The records of one partition that were taken and are not acknowledged yet."""

    def __init__(self) -> None:
        self._taken: deque[int] = deque()  # offsets, ascending
        self._finished: set[int] = set()
        self.next_offset: int | None = None  # everything before it is finished; None: none yet
        self.finished_ms = 0  # record time of the last record of the finished prefix
        self._times_ms: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """How many records were taken and are not finished."""
        return len(self._taken) - len(self._finished)

    def take(self, offset: int, time_ms: int) -> None:
        """Note a record as taken. Offsets ascend, with gaps where the log was compacted."""
        self._taken.append(offset)
        self._times_ms[offset] = time_ms

    def finish(self, offset: int) -> None:
        """Note a record as finished."""
        self._finished.add(offset)
        while self._taken and self._taken[0] in self._finished:
            done = self._taken.popleft()
            self._finished.discard(done)
            self.next_offset = done + 1
            self.finished_ms = max(self.finished_ms, self._times_ms.pop(done))
