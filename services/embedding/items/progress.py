"""Track up to where a partition may be acknowledged, as of when. Pure.

Records are finished in any order; only the contiguous prefix of finished ones is acknowledged, so
that after a crash nothing unfinished is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from freshet.contract.topics import DAY_MS

BEHIND_MS: Final = 6 * DAY_MS  # a day less than the topics keep the nulls that delete
RENEW_MS: Final = 600_000  # how old the commit of an idle partition may grow
UNAWARE_MS: Final = 600_000  # for less, a consumer does not know of a partition that was added


class Commit(NamedTuple):
    """What is acknowledged of a partition."""

    offset: int  # the first one that is not done
    complete_ms: int  # no delete before this time can have been missed


class Acknowledged(NamedTuple):
    """What a commit's metadata say, `complete_ms/partitions`."""

    complete_ms: int
    partitions: int  # of the topic, as known then; 0: not stated, as 0.2 did not

    @classmethod
    def read(cls, metadata: str) -> Acknowledged:
        """Read a commit's metadata; what says nothing is as if nothing were complete."""
        numbers = [int(n) if n.isdecimal() and len(n) <= 15 else 0 for n in metadata.split("/")]
        return cls(*numbers) if len(numbers) == 2 else cls(numbers[0], 0)

    def __str__(self) -> str:
        """Write it as `read` reads it."""
        return f"{self.complete_ms}/{self.partitions}"


def added_after_ms(partition: int, others: Iterable[Acknowledged]) -> int:
    """Return a time before which a partition that was never read was not there, 0: unknown.

    others: of its topic's other partitions. No delete before that time can have been missed on it.
    """
    without = [other.complete_ms for other in others if 0 < other.partitions <= partition]
    return max(0, max(without, default=0) - UNAWARE_MS)


class PartitionProgress:
    """One partition, from the assignment on."""

    def __init__(self, committed: Commit | None, start_offset: int) -> None:
        """start_offset: where reading begins if nothing was ever acknowledged."""
        self.done = start_offset if committed is None else committed.offset
        self.complete_ms = 0 if committed is None else committed.complete_ms
        self._committed = committed
        self._taken: deque[tuple[int, int]] = deque()  # (offset, record time in ms), ascending
        self._finished: set[int] = set()

    @property
    def in_flight(self) -> int:
        """Count the records that were taken and are not finished."""
        return len(self._taken) - len(self._finished)

    def take(self, offset: int, time_ms: int) -> None:
        """Note a record as taken. Offsets ascend, with gaps where the log was compacted."""
        self._taken.append((offset, time_ms))

    def finish(self, offset: int, now_ms: int) -> None:
        """Note a record as finished."""
        self._finished.add(offset)
        while self._taken and self._taken[0][0] in self._finished:
            first, time_ms = self._taken.popleft()
            self._finished.discard(first)
            self.done = first + 1
            self._seen(time_ms, now_ms)

    def pass_to(self, offset: int) -> None:
        """Note that nothing is left before an offset; only with nothing in flight.

        Transactions leave markers in the log that nobody is given.
        """
        self.done = max(self.done, offset)

    def seen_all(self, until_ms: int, now_ms: int) -> None:
        """Note that everything that stood in the log at a time is done."""
        self._seen(until_ms, now_ms)

    def is_behind(self, now_ms: int) -> bool:
        """Say whether deletes may have been missed, because reading was away for too long."""
        return now_ms - self.complete_ms >= BEHIND_MS

    def reconciled(self, as_of_ms: int) -> None:
        """Note that missed deletes were looked for, as of a time."""
        self.complete_ms = max(self.complete_ms, as_of_ms)

    def to_commit(self) -> Commit | None:
        """Return what to acknowledge now; None if it stands there already."""
        now, before = Commit(self.done, self.complete_ms), self._committed
        if before is None or now.offset != before.offset:
            return now
        return now if now.complete_ms - before.complete_ms > RENEW_MS else None

    def committed(self, commit: Commit) -> None:
        """Note what was acknowledged."""
        self._committed = commit

    def _seen(self, until_ms: int, now_ms: int) -> None:
        # Where the partition was away too long this must not hide it: `reconciled` comes first.
        if not self.is_behind(now_ms):
            self.complete_ms = max(self.complete_ms, until_ms)
