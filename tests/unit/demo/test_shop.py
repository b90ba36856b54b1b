"""The demo shop: complete, the same in every run, and its shoppers follow their tastes."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from PIL import Image

from freshet.contract.items import Item, decode_item, encode_item
from freshet.contract.records import JSON
from services.cli.demo import catalogue, shoppers
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES

NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def few() -> list[Item]:
    return [catalogue.item(kind, style, 0) for kind in KINDS for style in STYLES]


def test_shop_has_at_least_600_items_of_12_kinds() -> None:
    assert catalogue.COUNT >= 600
    assert len({kind.name for kind in KINDS}) >= 12


def test_every_thing_is_a_complete_item_with_a_picture_of_its_own(few: list[Item]) -> None:
    for item in few:
        assert decode_item(encode_item(item, JSON), JSON) == item
        assert item.title
        assert item.description
        assert item.price
        assert item.image_bytes
        with Image.open(io.BytesIO(item.image_bytes)) as picture:
            assert picture.size == (256, 256)
    assert len({item.image_bytes for item in few}) == len(few)
    assert len({item.item_id for item in few}) == len(few)


def test_same_seed_draws_the_same_bytes_and_another_seed_others() -> None:
    once, again = (catalogue.item(KINDS[3], STYLES[1], 7) for _ in range(2))
    assert once == again
    assert catalogue.item(KINDS[3], STYLES[1], 7, seed=2).image_bytes != once.image_bytes


def test_shoppers_come_back_to_few_kinds(few: list[Item]) -> None:
    """Two favourite kinds take most of a shopper's clicks; by chance it would be 2 of 14."""
    by_id = {item.item_id: item for item in few}
    clicks: dict[str, Counter[str]] = {}
    for event in shoppers.events(few, NOW_MS):
        clicks.setdefault(event.user_id, Counter())[by_id[event.item_id].categories[1]] += 1
    top_two = sum(sum(n for _, n in kinds.most_common(2)) for kinds in clicks.values())
    assert len(clicks) == shoppers.COUNT
    assert top_two / sum(kinds.total() for kinds in clicks.values()) > 0.7


def test_events_are_in_order_and_end_by_now(few: list[Item]) -> None:
    times = [event.time_ms or 0 for event in shoppers.events(few, NOW_MS)]
    assert times == sorted(times)
    assert times[0] > NOW_MS - 3 * 86_400_000
    assert times[-1] <= NOW_MS
