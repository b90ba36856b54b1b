"""The demo shop: complete, the same in every run, and its shoppers follow their tastes."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from freshet.contract.items import Item, decode_item, encode_item
from freshet.contract.records import JSON
from services.cli.demo import catalogue, shoppers
from services.cli.demo.export import write_tables
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from services.training.data.read import read
from shared.inputs.convert import Reading, item_of
from shared.inputs.rows import open_table

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


def test_a_shopper_is_the_same_whoever_else_comes(few: list[Item]) -> None:
    alone = shoppers.events(few, NOW_MS, numbers=[7])
    among = [event for event in shoppers.events(few, NOW_MS) if event.user_id == "shopper-7"]
    assert alone == among


def test_what_shoppers_find_next_is_not_told_and_was_never_seen_by_them(few: list[Item]) -> None:
    told, finds = shoppers.last_finds(shoppers.events(few, NOW_MS))
    seen = {(event.user_id, event.item_id) for event in told}
    until = {find.user_id: find.time_ms or 0 for find in finds}
    assert len(finds) == len(until) == shoppers.COUNT
    assert not seen & {(find.user_id, find.item_id) for find in finds}
    assert all((event.time_ms or 0) < until[event.user_id] for event in told)


def test_earlier_shoppers_are_others_and_left_before_the_first_of_these_came(
    few: list[Item],
) -> None:
    earlier, these = shoppers.earlier_events(few, NOW_MS), shoppers.events(few, NOW_MS)
    assert not {event.user_id for event in earlier} & {event.user_id for event in these}
    assert max(event.time_ms or 0 for event in earlier) < min(event.time_ms or 0 for event in these)


def test_tables_hold_the_whole_shop_for_training_and_for_an_import(
    few: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "items", lambda now_ms: few)
    monkeypatch.setattr(shoppers, "EARLIER", range(shoppers.COUNT, shoppers.COUNT + 20))

    write_tables(tmp_path, NOW_MS)

    events = shoppers.earlier_events(few, NOW_MS)
    data = read(tmp_path)
    chosen = {event.item_id for event in events}
    assert len(data.events.items) == len(events)
    assert set(data.item_ids) == chosen
    for item in few:
        if item.item_id in chosen:
            assert data.items[item.item_id] == replace(item, image_bytes=None)
            assert data.pictures[item.item_id].read_bytes() == item.image_bytes
    with open_table(str(tmp_path / "items.jsonl")) as table:
        imported = [item_of(row(), tmp_path, Reading()) for _, row in table.rows]
    assert imported == few
