from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from services.ranking.stages.arrange import Caps, arranged

X, Y = [1.0, 0.0], [0.0, 1.0]


def listed(
    scores: ArrayLike,
    vectors: ArrayLike,
    k: int = 10,
    diversity: float = 0.0,
    pins: dict[int, int] | None = None,
    caps: Caps | None = None,
) -> list[int]:
    table = np.array(vectors, np.float32)
    ranked = np.array(scores, np.float32)
    return arranged(ranked, table.__getitem__, k, diversity, pins or {}, caps)


def test_without_diversity_the_order_is_the_scores() -> None:
    assert listed([3, 2, 1], [X, X, Y]) == [0, 1, 2]


def test_diversity_lifts_the_different_item_over_the_slightly_better_twin() -> None:
    assert listed([1.0, 0.95, 0.9], [X, X, Y], diversity=0.5) == [0, 2, 1]


def test_full_diversity_still_begins_with_the_best() -> None:
    assert listed([1.0, 0.9, 0.1], [X, X, Y], diversity=1.0)[:2] == [0, 2]


def test_near_equal_scores_leave_the_choice_to_diversity() -> None:
    vectors = [X] * 20 + [Y]
    scores = 1 - np.arange(21) * 1e-5
    assert listed(scores, vectors, diversity=0.2)[1] == 20


def test_places_after_the_diverse_ones_go_by_score() -> None:
    scores = np.linspace(1, 0, 120)
    order = listed(scores, [X] * 120, k=120, diversity=0.2)
    assert sorted(order) == list(range(120))
    assert order[50:] == sorted(order[50:])


def test_a_pin_takes_its_place_whatever_its_score() -> None:
    assert listed([3, 2, 1], [X, X, Y], k=2, pins={0: 2}) == [2, 0]


def test_a_pin_beyond_a_short_list_stands_at_its_end() -> None:
    assert listed([3, 2, 1], [X, X, Y], k=10, pins={9: 0}) == [1, 2, 0]


def test_a_pin_keeps_its_twin_at_a_distance() -> None:
    order = listed([1.0, 0.95, 0.9], [X, X, Y], diversity=0.5, pins={0: 0})
    assert order == [0, 2, 1]


def test_a_cap_holds_and_the_list_is_still_full() -> None:
    caps = Caps({"a": 1}, [("a",), ("a",), ("b",), ("a", "b"), ()])
    assert listed([5, 4, 3, 2, 1], [X] * 5, k=3, caps=caps) == [0, 2, 4]


def test_a_cap_on_each_category_yields_to_one_of_its_own() -> None:
    caps = Caps({"": 1, "a": 2}, [("a",), ("a",), ("a",), ("b",), ("b",)])
    assert listed([5, 4, 3, 2, 1], [X] * 5, k=5, caps=caps) == [0, 1, 3]


def test_a_pinned_item_counts_towards_its_cap() -> None:
    caps = Caps({"a": 1}, [("a",), ("a",), ("b",)])
    assert listed([3, 2, 1], [X] * 3, k=3, pins={1: 1}, caps=caps) == [2, 1]


def test_nothing_to_arrange_gives_an_empty_list() -> None:
    assert listed([], np.zeros((0, 2)), diversity=0.5) == []


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
@given(data=st.data())
def test_a_list_is_full_without_repeats_and_within_its_caps(
    diversity: float, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, 40))
    k = data.draw(st.integers(1, 50))
    names = data.draw(st.lists(st.lists(st.sampled_from("abc"), max_size=2), min_size=count))
    names = names[:count]
    limits = data.draw(st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 5)))
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((count, 4))
    scores = np.sort(rng.standard_normal(count))[::-1]
    order = listed(scores, vectors, k, diversity, {}, Caps(limits, names))
    assert len(set(order)) == len(order) <= min(k, count)
    for name in "abc":
        limit = limits.get(name, limits.get("", count))
        assert sum(name in names[n] for n in order) <= limit
    if not limits:
        assert len(order) == min(k, count)
    full = {
        c for c in "abc" if sum(c in names[n] for n in order) >= limits.get(c, limits.get("", 99))
    }
    if len(order) < min(k, count):  # then whatever was left out would break a cap
        assert all(full & set(names[n]) for n in range(count) if n not in order)
