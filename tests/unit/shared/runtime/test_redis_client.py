"""What a client of Redis says of servers that are not there."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.runtime.redis_client import RedisSettings, connect


async def test_sentinels_that_are_gone_are_named_in_a_line() -> None:
    client = connect(RedisSettings("redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:2/main/0"))
    with pytest.raises(RedisConnectionError) as failed:
        await client.get("a")
    told = "no Sentinel names a primary of 'main': asked 127.0.0.1:1, 127.0.0.1:2"
    assert str(failed.value) == told
    await client.aclose()
