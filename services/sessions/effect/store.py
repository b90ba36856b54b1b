"""Read states with their position from Redis, and write chunks by compare-and-set.

write_chunk.lua is the script by which a chunk of events takes effect: all of it, or nothing.

KEYS: the partition's `pos:`, then n users' `u:`, then `co:` and `tr:` sets, c of them `co:`.
ARGV: pos expected, pos new, n, c, user TTL s, members at most and TTL s of a `co:` set, the same of
a `tr:` set, increments, then for each user the guard expected (empty: no state yet) and the new
state. Increments are one flat MessagePack array, for each set m, m members, their m log2 weights:
nested arrays, or a call for each member, would cost Redis half as much again.
Returns 0 for a chunk that is written, 1 where the position differs, 2 where a guard does.

Everything is read and compared before anything is written, so that an error in between, such as a
key of another type, leaves no half of an effect.

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

from shared.runtime.redis_client import Command, RedisExchange, is_wrong_type
from shared.users import keys

SCRIPT: Final = Path(__file__).with_name("write_chunk.lua").read_bytes()
_SCRIPT_SHA: Final = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
_ADMIT_SEGMENTS: Final = Path(__file__).with_name("admit_segments.lua").read_bytes()
_WRITTEN: Final = 0
_OTHER_GUARD: Final = 2
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


class ForeignKeys(WriteRefused):
    """Some keys hold another type than what Freshet writes there, and it will be so again."""

    def __init__(self, names: set[bytes]) -> None:
        super().__init__()
        self.names = names


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

        Raises WriteRefused when one of them was refused, and with it all after it; ForeignKeys,
        which is one, where keys of theirs are not Freshet's. After any other error nobody knows how
        many were written.
        """
        key = keys.position(self._topic, partition)
        commands = [_command(key, chunk) for chunk in chunks]
        try:
            replies = await self._exchanged(*commands)
        except NoScriptError:  # Redis was restarted, or another one took over
            await self._ask((b"SCRIPT", b"LOAD", SCRIPT))
            replies = await self._exchanged(*commands)
        if all(reply == _WRITTEN for reply in replies):
            return
        wrong = next((reply for reply in replies if is_wrong_type(reply)), None)
        # What reads as no state, and is there all the same, makes a guard differ, too.
        if (wrong or _OTHER_GUARD in replies) and (names := await self._foreign(chunks)):
            raise ForeignKeys(names)
        raise wrong or WriteRefused

    async def keep_ids(self, ids: Mapping[int, str], at_most: int) -> int:
        """Keep the ids of items, by key, that only their events name; any others make room.

        Returns how many did.
        """
        if not ids:
            return 0
        fields: list[bytes | str] = []
        for key, name in ids.items():
            fields += keys.item_key_bytes(key), name
        *_, held = await self._ask(
            (b"HSET", keys.UNKNOWN_IDS, *fields),
            (b"EXPIRE", keys.UNKNOWN_IDS, keys.USER_TTL_S),
            (b"HLEN", keys.UNKNOWN_IDS),
        )
        if held <= at_most:
            return 0
        (some,) = await self._ask((b"HRANDFIELD", keys.UNKNOWN_IDS, held - at_most))
        await self._ask((b"HDEL", keys.UNKNOWN_IDS, *some))
        return len(some)

    async def admit_segments(self, names: Sequence[str], now_s: int, at_most: int) -> list[bool]:
        """Say which segments may have a trending scope, which they keep for as long as it lives."""
        since_s = now_s - keys.TRENDING_TTL_S
        (admitted,) = await self._ask(
            (b"EVAL", _ADMIT_SEGMENTS, 1, keys.SEGMENTS, now_s, since_s, at_most, *names)
        )
        return [bool(one) for one in admitted]

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def _foreign(self, chunks: Sequence[WriteChunk]) -> set[bytes]:
        """Return the keys of users and sets that hold something that is none of Freshet's."""
        kinds: dict[bytes, bytes] = {}
        for chunk in chunks:
            kinds |= {keys.user(user.user_id): b"string" for user in chunk.users}
            kinds |= {keys.covisits(item): b"zset" for item, _ in chunk.covisits}
            kinds |= {keys.trending(scope): b"zset" for scope, _ in chunk.trends}
        found = await self._ask(*((b"TYPE", name) for name in kinds))
        return {
            name
            for (name, kind), held in zip(kinds.items(), found, strict=True)
            if held not in (b"none", kind)
        }

    async def _ask(self, *commands: Command) -> list[Any]:
        """Return replies. Raises ResponseError for a key of another type, which it names."""
        replies = await self._exchanged(*commands)
        for command, reply in zip(commands, replies, strict=True):
            if is_wrong_type(reply):
                raise ResponseError(f"{_key_of(command)}: {reply}")
        return replies

    async def _exchanged(self, *commands: Command) -> list[Any]:
        async with asyncio.timeout(self._timeout_s):
            return await self._exchange(commands)


def _key_of(command: Command) -> str:
    key = command[3 if command[0] == b"EVAL" else 1]
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


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
