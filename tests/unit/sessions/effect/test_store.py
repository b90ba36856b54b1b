"""What a store makes of keys that hold another type than Freshet's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from services.sessions.effect.store import StatesStore
from shared.runtime.redis_client import RedisSettings, connect
from tests.unit.sessions.kit import TOPIC


@pytest.mark.parametrize(
    ("key", "ask"),
    [
        ("ids", lambda store: store.keep_ids({1: "lamp"}, 10)),
        ("segments", lambda store: store.admit_segments(["PL"], 1, 10)),
        ("log:clicks", lambda store: store.claim_log("a cluster")),
    ],
)
async def test_a_key_of_another_type_is_named_and_waited_for(
    key: str, ask: Callable[[StatesStore], Awaitable[Any]]
) -> None:
    async def wrong(commands: Any) -> list[Any]:
        return [ResponseError("WRONGTYPE Operation against a key") for _ in commands]

    store = StatesStore(connect(RedisSettings()), TOPIC)
    store._exchange = wrong  # type: ignore[assignment]
    with pytest.raises(ResponseError, match=f"^{key}: WRONGTYPE"):  # which may pass
        await ask(store)
