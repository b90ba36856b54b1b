"""A key of Redis that holds what Freshet did not write: left out, and no failed call."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from services.ranking.live.state_reader import StateReader
from shared.runtime.redis_client import RedisSettings, connect


def reader_of(reply: Any) -> StateReader:
    async def answer(_: Any) -> list[Any]:
        return [reply]

    reader = StateReader(connect(RedisSettings()))
    reader._exchange = answer  # type: ignore[assignment]
    return reader


async def test_ids_in_a_key_of_another_type_are_not_known() -> None:
    reader = reader_of(ResponseError("WRONGTYPE Operation against a key"))
    assert await reader.item_ids([7], 1.0) == {}
    assert (reader.damaged, reader.broken) == (1, False)


async def test_a_damaged_position_is_one_that_is_not_reached() -> None:
    reader = reader_of([None, b"no position"])
    assert (await reader.states(["ann"], 1.0, partition=3)).applied == -1
    assert (reader.damaged, reader.broken) == (1, False)
