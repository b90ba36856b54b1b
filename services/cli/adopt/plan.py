"""Plan how states go on with another log than the one that they come from. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.users.positions import Position


class AdoptedPartition(NamedTuple):
    """A partition whose position does not fit the log, and from where on its events count."""

    partition: int
    noted: Position | None  # in Redis
    why: str  # how it shows
    begin: int  # offsets that the log holds
    end: int
    first: int  # the first event that will be applied
    before_ms: int  # record time of the one before it, or UNKNOWN_TIME_MS

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "partition": self.partition,
            "noted": None if self.noted is None else self.noted.offset,
            "why": self.why,
            "counts_as_applied": self.first - self.begin,
            "goes_on_at": self.first,
            "to_apply": self.end - self.first,
        }


class Plan(NamedTuple):
    """What adopting a log changes."""

    noted_cluster: str | None  # in Redis; None: it holds nothing of any log
    cluster: str  # of Kafka
    adopted: list[AdoptedPartition]
    kept: list[int]  # partitions whose position fits
    gone: list[int]  # with a position, and this log does not have them

    @property
    def other_cluster(self) -> bool:
        """Whether the states come from another cluster."""
        return self.noted_cluster != self.cluster

    @property
    def changes_nothing(self) -> bool:
        """Whether Redis belongs to this log as it is, or to none yet."""
        return self.noted_cluster is None or not (self.other_cluster or self.adopted)

    def guard(self, guard: dict[int, int]) -> dict[int, int]:
        """Return a user's guard for this log: it must cover no event that will be applied.

        An offset of another cluster says nothing of this one's.
        """
        last = {each.partition: each.first - 1 for each in self.adopted}
        bounded = {
            partition: min(offset, last.get(partition, offset))
            for partition, offset in guard.items()
            if partition in last or partition in self.kept or not self.other_cluster
        }
        return {partition: offset for partition, offset in bounded.items() if offset >= 0}

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "noted_cluster": self.noted_cluster,
            "cluster": self.cluster,
            "adopted": [each.as_dict() for each in self.adopted],
            "kept": self.kept,
            "gone": self.gone,
        }
