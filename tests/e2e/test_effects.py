"""What happens in the shop shows in the lists."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.offers import Offer
from freshet.publisher import Publisher
from freshet.v1.recommender_pb2 import (
    SEEN_POLICY_EXCLUDE_PURCHASES,
    SEEN_POLICY_INCLUDE,
    Filters,
    Range,
    StateRequest,
)
from services.cli.demo import catalogue
from services.cli.demo.styles import STYLES
from tests.e2e.shop import Visitor, kind_named, of_kind, share
from tests.servers import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_a_click_changes_the_next_recommendation(visitor: Visitor, shop: list[Item]) -> None:
    lamp = of_kind(shop, "lamp")[0]
    before = await visitor.ids()

    token = await visitor.does("click", lamp)
    after = await visitor.list(after=token)

    ids = [item.item_id for item in after.items]
    assert ids != before
    assert share(ids[:10], "lamp") > share(before[:10], "lamp")
    assert any(lamp.title in item.reason for item in after.items)
    assert not after.degraded


async def test_a_new_item_is_recommended_to_those_who_like_its_kind(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    await visitor.does("click", *of_kind(shop, "lamp")[:3])
    other = dataclasses.replace(visitor, user_id=f"{visitor.user_id}-other")
    token = await other.does("click", *of_kind(shop, "backpack")[:3])
    new = catalogue.item(kind_named("lamp"), STYLES[0], 77)

    await publisher.item(new)

    async def recommended() -> bool:
        return new.item_id in (await visitor.ids())[:10]

    await eventually(recommended, what="the new lamp in the lamp lover's list")
    assert new.item_id not in (await other.ids(after=token))[:5]


async def test_a_click_right_behind_its_new_item_counts_as_soon_as_the_item_is_there(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    lamp = of_kind(shop, "lamp")[0]
    new = [
        Item(item_id=f"late-{n}", title=f"Garden gnome number {n}", categories=("Gnomes",))
        for n in range(200)
    ]
    users = [f"{visitor.user_id}-{n}" for n in range(len(new))]
    for user_id, item in zip(users, new, strict=True):
        await publisher.event(Event(user_id=user_id, item_id=lamp.item_id, type="click"))
        await publisher.item(item)
        await publisher.event(Event(user_id=user_id, item_id=item.item_id, type="click"))

    async def counted(user_id: str) -> bool:
        state = await visitor.ranking.State(StateRequest(user_id=user_id), timeout=10.0)
        listed = (await visitor.list(user_id=user_id)).items
        return len(state.state.interests) == 2 and any(
            "interests" in item.sources and item.item_id.startswith("late-") for item in listed
        )

    async def all_counted() -> bool:
        while users and await counted(users[-1]):
            users.pop()
        return not users

    await eventually(all_counted, within_s=120, what="every click's effect")
    for item in new:
        await publisher.delete(item.item_id)


async def test_a_deleted_item_is_recommended_to_nobody(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    doomed = catalogue.item(kind_named("mug"), STYLES[1], 78)
    await publisher.item(doomed)
    await visitor.does("click", *of_kind(shop, "mug")[:2])

    async def listed() -> bool:
        return doomed.item_id in await visitor.ids(k=100)

    await eventually(listed, what="the mug in the list")

    await publisher.delete(doomed.item_id)

    async def gone() -> bool:
        return not await listed()

    await eventually(gone, what="the deleted mug's absence")
    assert doomed.item_id not in await visitor.ids(candidates=[doomed.item_id], k=1)


async def test_an_item_out_of_stock_leaves_every_list_and_comes_back_with_stock(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    chair = of_kind(shop, "armchair")[4]

    async def offered() -> bool:
        return chair.item_id in await visitor.ids(k=500, candidates=[chair.item_id])

    async def gone() -> bool:
        return not await offered()

    assert await offered()

    await publisher.offer(Offer(item_id=chair.item_id, in_stock=False))
    await eventually(gone, what="the sold-out chair's absence")
    assert chair.item_id not in await visitor.ids(k=500)

    await publisher.offer(Offer(item_id=chair.item_id, in_stock=True))
    await eventually(offered, within_s=5, what="the chair's return")


async def test_an_offer_changes_the_price_without_embedding(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    mug = of_kind(shop, "mug")[5]
    only_gems = Filters(price=Range(min=99_999.0))
    assert await visitor.ids(k=500, filters=only_gems) == []

    await publisher.offer(Offer(item_id=mug.item_id, price=100_000.0, currency="EUR"))

    async def listed() -> bool:
        return await visitor.ids(k=500, filters=only_gems) == [mug.item_id]

    await eventually(listed, within_s=5, what="the new price")
    await publisher.delete_offer(mug.item_id)


async def test_a_dislike_moves_its_kind_down(visitor: Visitor, shop: list[Item]) -> None:
    lamps, mugs = of_kind(shop, "lamp"), of_kind(shop, "mug")
    token = await visitor.does("click", lamps[0], mugs[0], lamps[1], mugs[1])
    before = await visitor.ids(after=token)

    token = await visitor.does("dislike", lamps[2])
    after = await visitor.ids(after=token)

    assert share(before, "lamp") > 0
    assert share(after, "lamp") < share(before, "lamp")
    assert lamps[2].item_id not in after


@pytest.mark.parametrize(
    ("said", "undo"), [("hide", "unhide"), ("dislike", "undislike"), ("purchase", "refund")]
)
async def test_what_was_undone_is_listed_again(
    visitor: Visitor, shop: list[Item], said: str, undo: str
) -> None:
    lamps = of_kind(shop, "lamp")
    item = lamps[0].item_id
    token = await visitor.does("click", *lamps[1:4])
    assert item in await visitor.ids(k=500, after=token)

    token = await visitor.does(said, item)
    assert item not in await visitor.ids(k=500, after=token)

    token = await visitor.does(undo, item)
    assert item in await visitor.ids(k=500, after=token)


async def test_a_hidden_item_stays_away_after_50_further_events(
    visitor: Visitor, shop: list[Item]
) -> None:
    lamps = of_kind(shop, "lamp")
    hidden = lamps[0].item_id
    further = [lamp for _ in range(11) for lamp in lamps[1:6]]
    twin = dataclasses.replace(visitor, user_id=f"{visitor.user_id}-twin")
    everything = {"k": 500, "seen": SEEN_POLICY_INCLUDE}

    await visitor.does("hide", hidden)
    token = await visitor.does("click", *further)
    twin_token = await twin.does("click", *further)

    assert hidden in await twin.ids(after=twin_token, **everything)
    assert hidden not in await visitor.ids(after=token, **everything)


async def test_what_was_bought_stays_away_unless_asked_for(
    visitor: Visitor, shop: list[Item]
) -> None:
    chair = of_kind(shop, "armchair")[0]
    token = await visitor.does("purchase", chair)

    without = await visitor.ids(after=token, k=500, seen=SEEN_POLICY_EXCLUDE_PURCHASES)
    with_it = await visitor.ids(after=token, k=500, seen=SEEN_POLICY_INCLUDE)

    assert chair.item_id not in without
    assert chair.item_id in with_it


async def test_a_newcomer_gets_a_list_without_any_event(visitor: Visitor) -> None:
    reply = await visitor.list()

    assert len(reply.items) == 20
    assert not reply.degraded


async def test_a_changed_title_shows_without_the_picture_being_lost(
    visitor: Visitor, publisher: Publisher, shop: list[Item]
) -> None:
    chair = of_kind(shop, "armchair")[6]
    await publisher.item(msgspec.structs.replace(chair, title="The Renamed Chair"))

    async def renamed() -> bool:
        reply = await visitor.list(candidates=[chair.item_id], k=1)
        return bool(reply.items) and reply.items[0].title == "The Renamed Chair"

    await eventually(renamed, what="the new title")
