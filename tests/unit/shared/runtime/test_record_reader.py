"""Single records of a topic: there, gone, or only not to be had now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition

from shared.runtime.topic_reader import RecordReader
from tests.unit.embedding.items.world import Consumed

TP = TopicPartition("item-vectors.s", 0)


class Log:
    """A partition, as a consumer of it sees it."""

    def __init__(self, *offsets: int, end: int) -> None:
        self.offsets, self.end = offsets, end
        self.away = False
        self.opened = self.closed = 0
        self._at = 0

    def open(self) -> Log:
        self.opened += 1
        return self

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.closed += 1

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        assert list(tps) == [TP]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[Any, list[Consumed]]:
        if self.away:  # aiokafka goes on trying, and returns nothing
            return {}
        there = [offset for offset in self.offsets if offset >= self._at][:max_records]
        self._at = there[-1] + 1 if there else max(self._at, self.end)
        return {TP: [Consumed(TP.topic, o, 0, b"k", b"v") for o in there]} if there else {}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.end)


@pytest.mark.parametrize(
    ("offset", "found"),
    [(3, True), (2, False), (6, False), (7, False), (9, False)],
    ids=["there", "compacted", "compacted to the end", "at the end", "after a log that was cut"],
)
async def test_a_record_is_there_or_gone(offset: int, found: bool) -> None:
    log = Log(3, 5, end=7)
    reader = RecordReader(log.open, TP.topic)

    record = await reader.read(TP.partition, offset)
    assert (record is not None and record.offset == offset) == found
    assert (log.opened, log.closed) == (1, 0)


async def test_a_record_of_a_broker_that_is_away_is_not_gone() -> None:
    log = Log(3, 5, end=7)
    reader = RecordReader(log.open, TP.topic)
    log.away = True
    with pytest.raises(TimeoutError):
        await reader.read(TP.partition, 3)

    log.away = False
    assert (await reader.read(TP.partition, 3)) is not None
    assert (log.opened, log.closed) == (2, 1)
