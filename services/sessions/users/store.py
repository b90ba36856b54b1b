"""Read and change what stands of users in Redis, by compare-and-set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from shared.runtime.redis_client import Command, RedisExchange

_SCRIPT: Final = Path(__file__).with_name("compare_and_set.lua").read_bytes()
_SCRIPT_SHA: Final = sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()


class KeyChange(NamedTuple):
    """A key's new value, and the one that it replaces (None: none)."""

    key: bytes
    before: bytes | None
    after: bytes
    ttl_s: int = 0  # 0: it stays


class UsersStore:
    """Reads and changes keys together. Methods raise RedisError or OSError."""

    def __init__(self, redis: Redis, *, timeout_s: float = 5.0) -> None:
        """timeout_s: until a silent Redis counts as gone, then TimeoutError."""
        self._exchange = RedisExchange(redis.connection_pool)
        self._timeout_s = timeout_s

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return values, None where there is none."""
        if not keys:
            return []
        (values,) = await self._ask((b"MGET", *keys))
        return list(values)

    async def change(self, changes: Sequence[KeyChange]) -> bool:
        """Make all changes, or none where a key holds another value than expected: False."""
        if not changes:
            return True
        arguments: list[bytes | int] = []
        for change in changes:
            arguments += change.before or b"", change.after, change.ttl_s
        command: Command = (
            *(b"EVALSHA", _SCRIPT_SHA, len(changes)),
            *(change.key for change in changes),
            *arguments,
        )
        try:
            (changed,) = await self._ask(command)
        except NoScriptError:  # Redis was restarted, or another one took over
            await self._ask((b"SCRIPT", b"LOAD", _SCRIPT))
            (changed,) = await self._ask(command)
        return bool(changed)

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def _ask(self, *commands: Command) -> list[Any]:
        async with asyncio.timeout(self._timeout_s):
            return await self._exchange(commands)
