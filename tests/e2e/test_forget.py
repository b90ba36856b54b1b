"""Forgetting is final: nothing from before it comes back, whatever is sent again."""

from __future__ import annotations

import time

import pytest

from freshet import kafka_clients
from freshet.contract.events import Event, encode_event
from freshet.contract.items import Item
from freshet.contract.records import JSON, Origin, origin_headers
from freshet.contract.topics import CLICKS, USERS
from freshet.contract.users import User, user_of_message
from freshet.publisher import token
from freshet.v1.recommender_pb2 import ForgetRequest, StateRequest
from freshet.v1.state_pb2 import UserState
from shared.kafka.records import records_of
from tests.e2e.shop import Visitor, of_kind
from tests.e2e.system import Up
from tests.servers import eventually

pytestmark = pytest.mark.e2e


async def history(visitor: Visitor, after: str) -> list[str]:
    """Return the items in a user's history, once it holds what stands at a position."""
    reply = await visitor.ranking.State(
        StateRequest(user_id=visitor.user_id, after=after), timeout=10.0
    )
    return [entry.item_id for entry in reply.state.history]


async def replay(up: Up, event: Event, origin: Origin) -> str:
    """Send an event as `freshet dead-letters --replay` does; returns where it stands."""
    async with kafka_clients.producer(up.kafka) as producer:
        where = await producer.send_and_wait(
            CLICKS.name,
            key=event.user_id.encode(),
            value=encode_event(event, JSON),
            headers=origin_headers(origin),
        )
    return token(where)


async def test_what_was_before_a_forget_never_comes_back(
    up: Up, visitor: Visitor, shop: list[Item]
) -> None:
    lamp, mug, chair = (of_kind(shop, kind)[0].item_id for kind in ("lamp", "mug", "armchair"))
    before_ms = time.time_ns() // 1_000_000
    clicked = await visitor.does("click", lamp)
    assert await history(visitor, clicked) == [lamp]

    forgotten = await visitor.ranking.Forget(ForgetRequest(user_id=visitor.user_id), timeout=10.0)
    assert await history(visitor, forgotten.position) == []

    old = Event(user_id=visitor.user_id, item_id=lamp, type="click", time_ms=before_ms)
    late = await visitor.publisher.event(old)
    assert await history(visitor, late) == []

    # A dead letter of before has no time of its own here: its origin's counts.
    partition, offset = map(int, clicked.split(":"))
    origin = Origin(CLICKS.name, partition, offset, before_ms)
    letter = Event(user_id=visitor.user_id, item_id=mug, type="like")
    assert await history(visitor, await replay(up, letter, origin)) == []

    again = await visitor.does("click", chair)
    assert await history(visitor, again) == [chair]


async def test_what_the_shop_said_is_gone_with_a_forget_and_stays_away(
    up: Up, visitor: Visitor
) -> None:
    said = User(user_id=visitor.user_id, country="JP", attributes={"age": "25-34"})

    async def told(after: str = "") -> UserState:
        reply = await visitor.ranking.State(
            StateRequest(user_id=visitor.user_id, after=after), timeout=10.0
        )
        return reply.state

    async def known() -> bool:
        return (await told()).HasField("user")

    await visitor.publisher.user(said)
    await eventually(known, what="what the shop says in ranking")
    assert user_of_message((await told()).user) == said

    forgotten = await visitor.ranking.Forget(ForgetRequest(user_id=visitor.user_id), timeout=10.0)
    assert not (await told(forgotten.position)).HasField("user")
    last = [
        record
        async for record in records_of(up.kafka, USERS.name)
        if record.key == visitor.user_id.encode()
    ]
    assert last[-1].value is None

    await visitor.publisher.user(said)  # who comes back is a newcomer
    await eventually(known, what="the newcomer")
