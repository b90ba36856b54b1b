"""What lists are like is what a person would count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freshet.contract.items import Item
from services.training.evaluation import lists
from tests.unit.training.logs import dataset

LISTS = np.array([[0, 1], [0, 2]])
LOG = dataset([[0, 1, 0], [0, 3], [0]], 4)  # item 0 is chosen by three users, 1 and 3 by one
CHOSEN_BY = lists.counts_of_users(LOG.events, 4)


def test_the_first_items_are_the_best_and_of_equals_the_lower_number() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.5], [1, 1, 1, 2]], np.float32)

    assert lists.first_items(scores, 3).tolist() == [[1, 2, 3], [3, 0, 1]]
    assert lists.first_items(scores, 9).tolist() == [[1, 2, 3, 0], [3, 0, 1, 2]]


def test_coverage_is_the_share_of_the_catalogue_in_any_list() -> None:
    assert lists.coverage(LISTS, 4) == 3 / 4


def test_who_chose_an_item_twice_counts_once() -> None:
    assert CHOSEN_BY.tolist() == [3, 1, 0, 1]


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    known, one_of_three = 0, np.log2(3)  # item 2, which nobody chose, counts as if one had
    expected = (known + one_of_three + known + one_of_three) / 4
    assert lists.novelty(LISTS, CHOSEN_BY, 3) == pytest.approx(expected)


def test_popularity_bias_compares_lists_with_what_users_chose() -> None:
    listed = (3 + 1 + 3 + 0) / 4
    own = ((3 + 1 + 3) / 3 + (3 + 1) / 2) / 2
    histories = LOG.events.take(np.array([0, 1]))
    bias = lists.popularity_bias(LISTS, histories, CHOSEN_BY)
    assert bias == pytest.approx(listed / own)


def test_popularity_bias_of_users_without_events_is_unknown() -> None:
    nobody = dataset([[], []], 4).events
    assert np.isnan(lists.popularity_bias(LISTS, nobody, CHOSEN_BY))


def test_diversity_is_the_mean_distance_of_categories_within_lists() -> None:
    categories = {"0": ("Comedy", "Drama"), "1": ("Drama",), "2": ("War", "Drama")}
    items = {name: Item(item_id=name, categories=each) for name, each in categories.items()}
    flags = lists.category_flags(replace(LOG, items=items))

    assert lists.diversity(LISTS, flags) == pytest.approx(((1 - 1 / 2) + (1 - 1 / 3)) / 2)
    assert lists.diversity(np.array([[0, 3]]), flags) == 1  # of item 3 no category is known
