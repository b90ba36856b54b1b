"""Read Redis: states, positions, co-visits and trending, each within its time.

`StateReader` reads Redis, `MemoryReader` is its double in memory; one suite runs over both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from freshet.contract import topics
from freshet.contract.users import User
from freshet.errors import Unavailable
from services.ranking.stages import signals
from services.ranking.stages.signals import Weighted
from shared.breaker import Breaker
from shared.runtime.redis_client import Command, RedisExchange, is_wrong_type
from shared.users import keys, positions, standing, states
from shared.users.states import UserState

COVISITS_READ: Final = 125  # followers of an item: the strongest, of at most 200


class UserStates(NamedTuple):
    """Users' states as they were asked for, and what else was read with them."""

    states: list[UserState]
    known: list[bool]
    applied: int = -1  # the offset that `pos` says is applied
    user: User | None = None  # what the shop says of the first of them


class Reader(Protocol):
    """What ranking reads of others' behaviour and of its users."""

    @property
    def broken(self) -> bool:
        """Whether the last attempts failed: then no time is spent on waiting."""
        ...

    async def states(
        self, user_ids: Sequence[str], timeout_s: float, partition: int | None = None
    ) -> UserStates:
        """Return states, empty ones for unknown users, and what is said of the first.

        Raises Unavailable.
        """
        ...

    async def sets(
        self, items: Sequence[int], scopes: Sequence[tuple[str, int]], timeout_s: float
    ) -> tuple[list[Weighted], list[Weighted]]:
        """Return the co-visits of items, by key, and the trending items of scopes.

        scopes: pairs of a scope and how many of its items are wanted. Raises Unavailable.
        """
        ...

    async def item_ids(self, items: Sequence[int], timeout_s: float) -> dict[int, str]:
        """Return ids by key, of those items whose events came before they were known, or ever will.

        Raises Unavailable.
        """
        ...


class StateReader:
    """Reads Redis in one exchange a call, and not at all while it is known to be gone.

    What a damaged value of a user would say is left out: that user is unknown. So is a set that is
    none: one bad key is not a server that is gone.
    """

    def __init__(self, redis: Redis, breaker: Breaker | None = None) -> None:
        self._exchange = RedisExchange(redis.connection_pool)
        self._breaker = breaker or Breaker()
        self.damaged = 0  # states, users and sets that could not be read, since the start

    @property
    def broken(self) -> bool:
        """See Reader.broken."""
        return self._breaker.broken

    async def states(
        self, user_ids: Sequence[str], timeout_s: float, partition: int | None = None
    ) -> UserStates:
        """See Reader.states."""
        names = [keys.standing(user_ids[0]), *map(keys.user, user_ids)]
        if partition is not None:
            names.append(keys.position(topics.CLICKS.name, partition))
        ((said, *values),) = await self._within(timeout_s, [("MGET", *names)])
        applied = -1
        if partition is not None:
            applied = self._offset(values.pop())
        return UserStates(
            [self._state(v) for v in values],
            [v is not None for v in values],
            applied,
            None if said is None else self._user(user_ids[0], said),
        )

    async def sets(
        self, items: Sequence[int], scopes: Sequence[tuple[str, int]], timeout_s: float
    ) -> tuple[list[Weighted], list[Weighted]]:
        """See Reader.sets."""
        commands: list[Command] = [
            ("ZRANGE", keys.covisits(item), 0, COVISITS_READ - 1, "REV", "WITHSCORES")
            for item in items
        ]
        commands += [
            ("ZRANGE", keys.trending(scope), 0, count - 1, "REV", "WITHSCORES")
            for scope, count in scopes
        ]
        replies = await self._within(timeout_s, commands)
        for number in [number for number, reply in enumerate(replies) if is_wrong_type(reply)]:
            self.damaged += 1
            replies[number] = []
        sets = signals.of_replies(replies)
        return sets[: len(items)], sets[len(items) :]

    async def item_ids(self, items: Sequence[int], timeout_s: float) -> dict[int, str]:
        """See Reader.item_ids."""
        if not items:
            return {}
        named: Command = ("HMGET", keys.UNKNOWN_IDS, *map(keys.item_key_bytes, items))
        (values,) = await self._within(timeout_s, [named])
        if is_wrong_type(values):
            self.damaged += 1
            return {}
        return {
            item: value.decode("utf-8", "replace")
            for item, value in zip(items, values, strict=True)
            if value
        }

    def _offset(self, value: bytes | None) -> int:
        if value is None:
            return -1
        try:
            return positions.unpack(value).offset
        except ValueError:
            self.damaged += 1
            return -1

    def _state(self, value: bytes | None) -> UserState:
        if value is None:
            return states.empty()
        try:
            return states.unpack(value)
        except ValueError:
            self.damaged += 1
            return states.empty()

    def _user(self, user_id: str, value: bytes) -> User | None:
        try:
            return standing.unpack(user_id, value).user
        except ValueError:
            self.damaged += 1
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._exchange.close()

    async def _within(self, timeout_s: float, commands: Sequence[Command]) -> list[Any]:
        """Exchange commands for replies. Raises Unavailable."""
        if not commands:
            return []
        if timeout_s <= 0:
            raise Unavailable("no time is left")
        if not self._breaker.allows(time.monotonic()):
            raise Unavailable("Redis did not answer a moment ago")
        try:
            async with asyncio.timeout(timeout_s):
                replies = await self._exchange(commands)
        except (RedisError, OSError) as error:
            late = isinstance(error, TimeoutError)
            self._breaker.failed(time.monotonic(), certain=not late)
            raise Unavailable(str(error) or "too late") from None
        self._breaker.succeeded()
        return replies


class MemoryReader:
    """A Reader over dictionaries, for tests; `gone` makes it Unavailable."""

    def __init__(self) -> None:
        self.users: dict[str, UserState] = {}
        self.said: dict[str, User] = {}
        self.applied: dict[int, int] = {}  # partition → offset
        self.covisits: dict[int, Weighted] = {}
        self.trending: dict[str, Weighted] = {}
        self.ids: dict[int, str] = {}  # of items that no catalogue knew
        self.gone = False

    @property
    def broken(self) -> bool:
        """See Reader.broken."""
        return self.gone

    async def states(
        self, user_ids: Sequence[str], timeout_s: float, partition: int | None = None
    ) -> UserStates:
        """See Reader.states."""
        await self._answer(timeout_s)
        applied = -1 if partition is None else self.applied.get(partition, -1)
        known = [self.users.get(user_id) for user_id in user_ids]
        return UserStates(
            [s or states.empty() for s in known],
            [s is not None for s in known],
            applied,
            self.said.get(user_ids[0]),
        )

    async def sets(
        self, items: Sequence[int], scopes: Sequence[tuple[str, int]], timeout_s: float
    ) -> tuple[list[Weighted], list[Weighted]]:
        """See Reader.sets."""
        await self._answer(timeout_s)
        return (
            [_first(self.covisits.get(item), COVISITS_READ) for item in items],
            [_first(self.trending.get(scope), count) for scope, count in scopes],
        )

    async def item_ids(self, items: Sequence[int], timeout_s: float) -> dict[int, str]:
        """See Reader.item_ids."""
        await self._answer(timeout_s)
        return {item: self.ids[item] for item in items if item in self.ids}

    async def _answer(self, timeout_s: float) -> None:
        await asyncio.sleep(0)
        if self.gone or timeout_s <= 0:
            raise Unavailable("gone")


def _first(items: Weighted | None, count: int) -> Weighted:
    return signals.NONE if items is None else Weighted(items.keys[:count], items.scores[:count])
