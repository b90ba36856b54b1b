from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from services.ranking.stages.new_places import Placed, placed
from shared.bundles.candidates import NAMES, FeatureColumn


def table_of(count: int, new: dict[int, float], like: float = 0.5) -> NDArray[np.float32]:
    """Return features of candidates that are all alike; new: candidate → likeness."""
    table = np.zeros((count, len(NAMES)), np.float32)
    table[:, FeatureColumn.SESSION] = like
    for candidate, alike in new.items():
        table[candidate, FeatureColumn.SESSION] = alike
        table[candidate, FeatureColumn.FRESHNESS] = 1
        table[candidate, FeatureColumn.NEW] = alike
    return table


def places(
    k: int, new: dict[int, float], *, share: float = 0.1, draw: int = 0, unfit: tuple[int, ...] = ()
) -> Placed:
    """Place new items in a list of the first k of 100 candidates."""
    return placed(
        list(range(k)),
        table_of(100, new),
        lambda chosen, candidate: candidate not in unfit,
        lambda candidate, count: draw % count,
        share,
    )


def test_a_new_item_takes_one_of_ten_places_and_the_last_of_the_list_makes_room() -> None:
    found = places(10, {50: 0.6, 51: 0.7})
    assert found.order == [0, 1, 2, 3, 4, 51, 5, 6, 7, 8]
    assert found.new == [51]


@pytest.mark.parametrize(("k", "count"), [(9, 0), (10, 1), (19, 1), (50, 5)])
def test_new_items_never_take_more_than_their_share(k: int, count: int) -> None:
    assert len(places(k, {n: 0.9 for n in range(60, 90)}).new) == count
    assert places(k, {n: 0.9 for n in range(60, 90)}, share=0).new == []


def test_a_new_item_that_ranks_high_enough_by_itself_uses_the_share_up() -> None:
    assert places(10, {3: 0.9, 50: 0.9}).order == list(range(10))


def test_what_is_less_like_the_users_taste_than_half_of_the_list_gets_no_place() -> None:
    assert places(10, {50: 0.4}).new == []


def test_what_may_not_join_gives_its_place_to_the_next() -> None:
    assert places(10, {50: 0.9, 51: 0.8}, unfit=(50,)).new == [51]


def test_a_new_item_that_people_have_met_needs_no_place_and_takes_none_from_others() -> None:
    table = table_of(100, {3: 0.9, 50: 0.8, 51: 0.7})
    table[[3, 50], FeatureColumn.POPULARITY] = 0.5
    assert placed(list(range(10)), table, lambda *_: True, lambda *_: 0, 0.1).new == [51]


def test_an_item_is_new_for_one_half_life() -> None:
    table = table_of(100, {50: 0.9})
    table[50, FeatureColumn.FRESHNESS] = 0.49
    assert placed(list(range(10)), table, lambda *_: True, lambda *_: 0, 0.1).new == []


def test_the_propensities_are_how_often_an_item_stands_at_its_place_over_all_draws() -> None:
    lists = [places(25, {50: 0.9, 51: 0.8}, draw=draw) for draw in range(5)]
    stands = Counter((n, item) for found in lists for n, item in enumerate(found.order))
    for found in lists:
        assert len(found.propensities) == len(found.order) == 25
        for n, (item, propensity) in enumerate(zip(found.order, found.propensities, strict=True)):
            assert propensity == pytest.approx(stands[n, item] / len(lists))


def test_the_first_half_of_every_ten_places_is_left_to_evidence() -> None:
    for draw in range(5):
        order = places(20, {50: 0.9, 51: 0.8}, draw=draw).order
        assert {order.index(50) % 10, order.index(51) % 10} <= set(range(5, 10))
