"""Masks of the whole catalogue: kept by filter, true whatever changes, bounded in bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.v1 import recommender_pb2 as pb
from services.ranking.live import row_masks
from services.ranking.live.row_masks import Mask, RowMasks, Rows
from shared.catalogue.catalogue import Catalogue
from shared.runtime.deadline import Costs, Deadline
from tests.unit.shared.catalogue.makers import DIM, SPACE, catalogue_of, delete, put


class TaggedMasks:
    """Masks by tag, and how many rows were looked at."""

    def __init__(self, catalogue: Catalogue, **bounds: int) -> None:
        self.catalogue = catalogue
        self.looked_at = 0
        self.masks = RowMasks(catalogue, self._conditions, **bounds)

    def _conditions(self, filters: pb.Filters, rows: Rows) -> Iterator[tuple[str, Mask]]:
        mask = self.catalogue.tag_sets.carrying(filters.tags_any, rows)
        self.looked_at += len(mask)
        yield "tags_any", mask

    async def of(self, tag: str) -> Mask:
        deadline = Deadline(time.monotonic() + 5, time.monotonic, Costs())
        return await self.masks.of(pb.Filters(tags_any=[tag]), deadline)

    async def looked_at_for(self, tag: str) -> int:
        before = self.looked_at
        await self.of(tag)
        return self.looked_at - before


def shop(count: int) -> Catalogue:
    return catalogue_of(*(put(f"item-{n}", tags=("odd",) if n % 2 else ()) for n in range(count)))


async def test_a_filter_that_is_asked_for_again_costs_only_what_changed_since() -> None:
    masks = TaggedMasks(shop(40))
    assert await masks.looked_at_for("odd") == 40
    assert await masks.looked_at_for("odd") == 0
    masks.catalogue.apply([put("item-0", 2, tags=("odd",)), put("new", tags=("odd",))])
    assert await masks.looked_at_for("odd") == 2
    assert (await masks.of("odd")).sum() == 22


async def test_who_holds_a_mask_keeps_it_as_it_was_and_cannot_write_to_it() -> None:
    masks = TaggedMasks(shop(4))
    before = await masks.of("odd")
    masks.catalogue.apply([put("item-1", 2)])
    assert before.tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="read-only"):
        before[0] = True


async def test_masks_take_bounded_bytes_and_those_asked_for_last_stay() -> None:
    masks = TaggedMasks(shop(40), bytes_at_most=80)
    for tag in ("a", "b", "a", "c"):
        await masks.of(tag)
    assert [await masks.looked_at_for(tag) for tag in ("a", "c", "b", "a")] == [0, 0, 40, 40]


async def test_a_mask_that_missed_too_much_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_masks, "CHANGES_KEPT", 4)
    masks = TaggedMasks(shop(40))
    await masks.of("odd")
    for version in range(2, 20):
        masks.catalogue.apply([put(f"item-{version}", version, tags=("odd",))])
    assert len(masks.masks._changed) <= 8
    assert await masks.looked_at_for("odd") == 40
    assert (await masks.of("odd")).sum() == 29


TAGS = st.sets(st.sampled_from(("x", "y")), max_size=2).map(tuple)
CHANGES = st.lists(st.tuples(st.integers(0, 5), st.none() | TAGS, st.booleans()), max_size=20)


@given(CHANGES)
def test_a_mask_is_that_of_a_plain_look_at_every_item_after_any_changes(
    changes: list[tuple[int, Any, bool]],
) -> None:
    masks = TaggedMasks(Catalogue(SPACE, DIM))
    for version, (item, tags, asked) in enumerate(changes):
        item_id = f"item-{item}"
        put_or_delete = (
            delete(item_id, version) if tags is None else put(item_id, version, tags=tags)
        )
        masks.catalogue.apply([put_or_delete])
        if asked:
            mask = asyncio.run(masks.of("x"))
            assert mask.tolist() == ["x" in held for held in masks.catalogue.tags]
            assert len(mask) == len(masks.catalogue)


async def test_changes_while_a_mask_is_made_are_in_it() -> None:
    masks = TaggedMasks(shop(4))

    class Changing(Deadline):
        async def turn(self) -> None:
            masks.catalogue.apply([put("item-0", 2, tags=("odd",)), put("late", tags=("odd",))])

    deadline = Changing(time.monotonic() + 5, time.monotonic, Costs())
    mask = await masks.masks.of(pb.Filters(tags_any=["odd"]), deadline)
    assert mask.tolist() == [True, True, False, True, True]
    assert mask.dtype == np.bool_
