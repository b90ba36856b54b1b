"""Where reading starts, and how another log shows."""

from __future__ import annotations

import pytest

from services.sessions.effect.double import MemoryStore
from services.sessions.faust.partitions import OtherLog, StartOffset, find_start
from shared.kafka.log_reader import Bounds
from shared.users import keys
from shared.users.positions import UNKNOWN_TIME_MS, Position
from tests.unit.sessions.kit import TOPIC, writer

STAMP = b"s" * 16


class Log:
    """Bounds and record times of one partition."""

    def __init__(self, begin: int, end: int, times: dict[int, int] | None = None) -> None:
        self._bounds = Bounds(begin, end)
        self._times = times or {}

    async def bounds(self, partitions: list[int]) -> dict[int, Bounds]:
        return dict.fromkeys(partitions, self._bounds)

    async def time_of(self, _: int, offset: int) -> int | None:
        assert self._bounds.begin <= offset < self._bounds.end
        return self._times.get(offset)


async def start(log: Log, position: Position | None, noted: str = "mine") -> StartOffset:
    store = MemoryStore(TOPIC)
    await store.claim_log(noted)
    if position is not None:
        store.values[keys.position(TOPIC, 0)] = position.pack()
    return await find_start(store, writer(store), log, "mine", TOPIC, 0)  # type: ignore[arg-type]


async def test_reading_goes_on_after_the_position() -> None:
    found = await start(Log(0, 50, {9: 7}), Position(9, 7, STAMP))
    assert found == StartOffset(10, 10)


async def test_without_a_position_reading_starts_where_the_log_does() -> None:
    assert await start(Log(300, 400), None) == StartOffset(300, 300)


async def test_an_empty_log_has_a_start_too() -> None:
    assert await start(Log(0, 0), None) == StartOffset(0, 0)


async def test_a_position_at_the_end_of_the_log_is_good() -> None:
    assert await start(Log(0, 10, {9: 7}), Position(9, 7, STAMP)) == StartOffset(10, 10)


async def test_what_the_log_no_longer_holds_is_counted() -> None:
    found = await start(Log(300, 400), Position(9, 7, STAMP))
    assert found == StartOffset(10, 300)
    assert found.gone == 290


async def test_a_position_before_any_record_needs_no_time() -> None:
    """A worker was cut off in its very first batch."""
    assert await start(Log(0, 50), Position(-1, UNKNOWN_TIME_MS, STAMP)) == StartOffset(0, 0)


async def test_a_record_with_another_time_is_of_another_log() -> None:
    with pytest.raises(OtherLog, match="record time 8 ms at offset 9, where Redis notes 7 ms"):
        await start(Log(0, 50, {9: 8}), Position(9, 7, STAMP))


async def test_a_position_without_its_record_is_of_another_log() -> None:
    with pytest.raises(OtherLog, match="clicks:0 holds no record at offset 9"):
        await start(Log(0, 50), Position(9, 7, STAMP))


async def test_a_position_beyond_the_end_is_of_another_log() -> None:
    with pytest.raises(OtherLog, match="is at offset 50 of clicks:0, which ends before 50"):
        await start(Log(0, 50), Position(50, 7, STAMP))


async def test_another_cluster_is_refused_and_the_way_to_begin_anew_is_said() -> None:
    with pytest.raises(OtherLog, match="notes cluster theirs, Kafka is cluster mine") as refusal:
        await start(Log(0, 50), None, noted="theirs")
    assert "FLUSHDB" in str(refusal.value)
    assert "REDIS_URL" in str(refusal.value)
