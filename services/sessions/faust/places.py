"""From which offset a partition is read: what Redis says, checked against the log."""

from __future__ import annotations

from typing import NamedTuple

from services.sessions.effect.writer import Applier
from services.sessions.faust.log_reader import Bounds, LogReader
from shared.users.positions import UNKNOWN_TIME_MS, Position

BEGIN_ANEW = (
    "Give REDIS_URL the Redis that belongs to this log; or, to begin anew with no states, stop all"
    " services, empty this one (redis-cli -u $REDIS_URL FLUSHDB) and start them again."
)


class OtherLog(Exception):
    """The states in Redis come from another log; the text says how that shows and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The states in Redis come from another log: {why}. {BEGIN_ANEW}")


class Place(NamedTuple):
    """Where reading goes on."""

    next_offset: int  # the offset after the position in Redis
    seek_to: int  # the same, or the log's beginning where that is later

    @property
    def gone(self) -> int:
        """Count the records that the log no longer holds and that were never applied."""
        return self.seek_to - self.next_offset


async def find_place(
    applier: Applier, log: LogReader, cluster_id: str, topic: str, partition: int
) -> Place:
    """Read a partition's position and return its place.

    Raises OtherLog; RedisError, KafkaError and OSError when they cannot be had just now.
    """
    noted = await applier.store.claim_log(cluster_id)
    if noted != cluster_id:
        raise OtherLog(f"it notes cluster {noted}, Kafka is cluster {cluster_id}")
    value = (await applier.store.positions([partition]))[partition]
    bounds = (await log.bounds([partition]))[partition]
    position = applier.place(partition, value, bounds.begin).position
    await _check(position, bounds, log, f"{topic}:{partition}", partition)
    return Place(position.offset + 1, max(position.offset + 1, bounds.begin))


async def _check(
    position: Position, bounds: Bounds, log: LogReader, name: str, partition: int
) -> None:
    """Raise OtherLog unless the log can be the one in which this position was reached."""
    if position.offset >= bounds.end:
        raise OtherLog(
            f"it is at offset {position.offset} of {name}, which ends before {bounds.end}"
        )
    if position.time_ms == UNKNOWN_TIME_MS or position.offset < bounds.begin:
        return
    time_ms = await log.time_of(partition, position.offset)
    if time_ms != position.time_ms:
        found = "holds no record" if time_ms is None else f"has record time {time_ms} ms"
        raise OtherLog(
            f"{name} {found} at offset {position.offset}, where Redis notes {position.time_ms} ms"
        )
