"""Read states with their position from Redis, and write chunks by compare-and-set.

write_chunk.lua is the script by which a chunk of events takes effect: all of it, or nothing.

KEYS: the partition's `pos:`, then n users' `u:`, then `co:` and `tr:` sets, c of them `co:`.
ARGV: pos expected, pos new, n, c, user TTL s, members at most and TTL s of a `co:` set, the same of
a `tr:` set, increments, then for each user the guard expected (empty: no state yet) and the new
state. Increments are one flat MessagePack array, for each set m, m members, their m log2 weights:
nested arrays, or a call for each member, would cost Redis half as much again.
Returns, for a chunk that is written, 0 less how many sets were passed over, as their keys hold
another type; 1 where the position differs, 2 where a guard does, 3 where a user's key holds no
state but another type. Such keys are not Freshet's: they stay for who can mend them.

Everything is read and compared before anything is written, so that an error in between leaves no
half of an effect.

A full set takes a newcomer in place of its lowest member, at that one's score with the newcomer's
weight added (space-saving, Metwally 2005): else a rising item could never enter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from shared.runtime import metrics
from shared.runtime.redis_client import Command, RedisExchange
from shared.users import keys

SCRIPT: Final = Path(__file__).with_name("write_chunk.lua").read_bytes()
_SCRIPT_SHA: Final = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
_FOREIGN_STATE: Final = 3
_LIMITS: Final = (
    keys.USER_TTL_S,
    keys.COVISITS_AT_MOST,
    keys.COVISITS_TTL_S,
    keys.TRENDING_AT_MOST,
    keys.TRENDING_TTL_S,
)
_pack: Final = msgspec.msgpack.Encoder().encode

Name = TypeVar("Name")


class WriteRefused(Exception):
    """The script saw another position or guard than expected, and wrote nothing."""


class ForeignStates(WriteRefused):
    """Keys of users hold another type than states have."""

    def __init__(self, users: set[str]) -> None:
        super().__init__()
        self.users = users


class UserWrite(NamedTuple):
    """A user's new state, and the guard that the one it replaces must have (empty: none)."""

    user_id: str
    guard: bytes
    state: bytes


class WriteChunk(NamedTuple):
    """What one script writes: all of it or nothing."""

    expected: bytes  # the partition's whole `pos:` value; empty: none yet
    position: bytes  # the one that replaces it
    users: Sequence[UserWrite] = ()
    covisits: Mapping[tuple[int, int], float] = {}  # (from, to) item keys → log2 weight
    trends: Mapping[tuple[str, int], float] = {}  # (scope, item key) → log2 weight


class StatesStore:
    """Reads and writes states, co-visits, trending and positions of one topic's events."""

    def __init__(self, redis: Redis, topic: str, *, timeout_s: float = 5.0) -> None:
        """timeout_s: until a silent Redis counts as gone, then TimeoutError."""
        self._exchange = RedisExchange(redis.connection_pool)
        self._topic = topic
        self._timeout_s = timeout_s

    async def claim_log(self, cluster_id: str) -> str:
        """Note whose log these states come from unless it is noted; return what stands."""
        key = keys.log_of(self._topic)
        _, noted = await self._ask((b"SET", key, cluster_id, b"NX"), (b"GET", key))
        return bytes(noted).decode()

    async def positions(self, partitions: Sequence[int]) -> dict[int, bytes | None]:
        """Return the `pos:` values of partitions, None where there is none."""
        if not partitions:
            return {}
        names = [keys.position(self._topic, partition) for partition in partitions]
        (values,) = await self._ask((b"MGET", *names))
        return dict(zip(partitions, values, strict=True))

    async def read(
        self, partition: int, users: Sequence[str]
    ) -> tuple[bytes | None, dict[str, bytes | None]]:
        """Return a partition's `pos:` value and users' packed states, as they stood together."""
        position_key = keys.position(self._topic, partition)
        ((position, *states),) = await self._ask((b"MGET", position_key, *map(keys.user, users)))
        return position, dict(zip(users, states, strict=True))

    async def write(self, partition: int, chunks: Sequence[WriteChunk]) -> None:
        """Write chunks one after the other; each expects the position that the one before leaves.

        Raises WriteRefused when one of them was refused, and with it all after it: ForeignStates
        where that will be so again. After any other error nobody knows how many were written.
        """
        key = keys.position(self._topic, partition)
        commands = [_command(key, chunk) for chunk in chunks]
        try:
            replies = await self._ask(*commands)
        except NoScriptError:  # Redis was restarted, or another one took over
            await self._ask((b"SCRIPT", b"LOAD", SCRIPT))
            replies = await self._ask(*commands)
        if _FOREIGN_STATE in replies:
            raise ForeignStates(await self._foreign(chunks))
        if any(reply > 0 for reply in replies):
            raise WriteRefused
        if foreign_sets := -sum(replies):
            metrics.SETS_PASSED_OVER.inc(foreign_sets)

    async def keep_ids(self, ids: Mapping[int, str]) -> None:
        """Keep the ids of items, by key, that only their events name."""
        if ids:
            ttl = keys.USER_TTL_S
            await self._ask(
                *((b"SET", keys.item_id(key), name, b"EX", ttl) for key, name in ids.items())
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def _foreign(self, chunks: Sequence[WriteChunk]) -> set[str]:
        """Return the users without a state whose keys hold something all the same."""
        users = [user.user_id for chunk in chunks for user in chunk.users if not user.guard]
        kinds = await self._ask(*((b"TYPE", keys.user(user)) for user in users))
        named = zip(users, kinds, strict=True)
        return {user for user, kind in named if kind not in (b"none", b"string")}

    async def _ask(self, *commands: Command) -> list[Any]:
        async with asyncio.timeout(self._timeout_s):
            replies = await self._exchange(commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies


def _command(position_key: bytes, chunk: WriteChunk) -> Command:
    """Return the EVALSHA of a chunk: the script's arguments stand above."""
    covisits, trends = _by_set(chunk.covisits), _by_set(chunk.trends)
    increments: list[Any] = []
    for members, weights in (*covisits.values(), *trends.values()):
        increments.append(len(members))
        increments += members
        increments += weights
    command: list[str | bytes | int] = [
        b"EVALSHA",
        _SCRIPT_SHA,
        1 + len(chunk.users) + len(covisits) + len(trends),
        position_key,
        *[keys.user(user.user_id) for user in chunk.users],
        *map(keys.covisits, covisits),
        *map(keys.trending, trends),
        chunk.expected,
        chunk.position,
        len(chunk.users),
        len(covisits),
        *_LIMITS,
        _pack(increments),
    ]
    for user in chunk.users:
        command += user.guard, user.state
    return tuple(command)


def _by_set(
    increments: Mapping[tuple[Name, int], float],
) -> dict[Name, tuple[list[msgspec.Raw], list[float]]]:
    """Sort increments by set: its name → members, as MessagePack has them, and weights."""
    sets: dict[Name, tuple[list[msgspec.Raw], list[float]]] = {}
    for (name, item), weight in increments.items():
        members_weights = sets.get(name)
        if members_weights is None:
            members_weights = sets[name] = ([], [])
        # A string of 8 bytes; MessagePack's binary type is unknown to Redis' cmsgpack.
        members_weights[0].append(msgspec.Raw(b"\xa8" + keys.item_key_bytes(item)))
        members_weights[1].append(weight)
    return sets
