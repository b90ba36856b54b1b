from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from freshet.contract.items import Item
from freshet.contract.records import Origin
from freshet.v1 import vector_pb2
from services.embedding.items import arrivals as module
from services.embedding.items.arrivals import SINCE_EVER, WINDOW_MS, Arrivals, inherited
from shared.users.keys import item_key
from tests.unit.embedding.items.world import Consumed

NOW_MS = 1_800_000_000_000


def since(
    arrivals: Arrivals,
    item: Item,
    *,
    topic: str = "items",
    at_ms: int = NOW_MS,
    known_ms: int | None = None,
    items: float = 1_000,
) -> int:
    return arrivals.since_ms(item, Origin(topic, 0, 0, at_ms), known_ms, items)


def test_an_item_that_comes_by_itself_is_there_since_it_arrived() -> None:
    assert since(Arrivals({}), Item(item_id="lamp")) == NOW_MS


def test_what_the_shop_says_counts_before_all_else() -> None:
    arrivals = Arrivals({item_key("lamp"): 3})
    item = Item(item_id="lamp", created_ms=7)
    assert since(arrivals, item, known_ms=5) == 7
    assert since(arrivals, item, topic="items-backfill") == 7


def test_a_later_version_keeps_its_arrival() -> None:
    assert since(Arrivals({}), Item(item_id="lamp"), known_ms=5) == 5
    assert since(Arrivals({}), Item(item_id="lamp"), known_ms=SINCE_EVER) == SINCE_EVER


def test_another_models_space_takes_arrivals_over() -> None:
    arrivals = Arrivals({item_key("lamp"): 3})
    assert since(arrivals, Item(item_id="lamp")) == 3
    assert since(arrivals, Item(item_id="rug")) == NOW_MS


def test_a_backfill_makes_nothing_new() -> None:
    assert since(Arrivals({}), Item(item_id="lamp"), topic="items-backfill") == SINCE_EVER


def test_a_first_load_makes_nothing_new_whatever_its_size() -> None:
    arrivals = Arrivals({})
    loaded = [since(arrivals, Item(item_id=f"lamp-{n}"), items=n) for n in range(200)]
    assert set(loaded) == {SINCE_EVER}


def test_a_few_among_many_are_news_and_so_is_what_comes_after_a_load() -> None:
    arrivals = Arrivals({})
    few = [since(arrivals, Item(item_id=f"lamp-{n}"), items=100 + n) for n in range(10)]
    assert set(few) == {NOW_MS}
    for n in range(200):
        since(arrivals, Item(item_id=f"rug-{n}"), items=110 + n)
    later_ms = NOW_MS + WINDOW_MS + 1
    assert since(arrivals, Item(item_id="vase"), at_ms=later_ms, items=310) == later_ms


async def test_inherited_is_what_the_other_spaces_living_items_last_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def record(item_id: str, arrived_ms: int | None) -> Consumed:
        value = None
        if arrived_ms is not None:
            value = vector_pb2.ItemVector(arrived_ms=arrived_ms).SerializeToString()
        return Consumed("item-vectors.old", 0, 0, item_id.encode(), value)

    async def read_once(make: Any, topic: str, take: Callable[[Sequence[Any]], None]) -> None:
        take([record("lamp", 5), record("rug", 6), record("vase", 7)])
        take([record("lamp", 8), record("rug", None), Consumed(topic, 0, 0, b"bad", b"\xff")])

    monkeypatch.setattr(module, "read_once", read_once)
    found = await inherited(lambda *_: None, "item-vectors.old")
    assert found == {item_key("lamp"): 8, item_key("vase"): 7}
