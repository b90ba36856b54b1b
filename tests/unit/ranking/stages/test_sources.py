from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.ranking.stages import sources
from services.ranking.stages.sources import BIT
from services.ranking.stages.user_profile import UserProfile, profile_of
from tests.unit.ranking.shop import VECTORS, Shop


@pytest.fixture
def shop() -> Shop:
    return Shop(each=5)


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def profile(shop: Shop, *events: tuple[str, str]) -> UserProfile:
    return profile_of(shop.user("ann", events), shop.catalogue, shop.offers.terms.price, VECTORS)


def test_who_proposed_a_row_is_remembered_once_for_each_source() -> None:
    parts = [(BIT["session"], rows(7, 3, -1)), (BIT["new"], rows(3, 3)), (BIT["pin"], rows())]
    together = sources.together(parts)
    assert together.rows.tolist() == [3, 7]
    assert [sources.names_of(bits) for bits in together.proposed.tolist()] == [
        ("session", "new"),
        ("session",),
    ]


@pytest.mark.parametrize("parts", [[], [(1, rows())], [(1, rows(-1, -1))]])
def test_no_proposals_make_no_candidates(parts: list[tuple[int, NDArray[np.int64]]]) -> None:
    assert len(sources.together(parts).rows) == 0


def test_queries_that_would_find_the_same_are_asked_once(shop: Shop) -> None:
    wanted, bits = sources.queries(profile(shop, ("click", "lamp-1")), shop.catalogue)
    assert len(wanted) == 1
    assert sources.names_of(bits[0]) == ("session", "interests", "long_term", "content")


def test_different_tastes_are_asked_for_apart(shop: Shop) -> None:
    wanted, bits = sources.queries(
        profile(shop, ("click", "lamp-1"), ("click", "rug-1")), shop.catalogue
    )
    assert len(wanted) == len(bits) == 3  # both at once, and each item by itself
    asked = [name for one in bits for name in sources.names_of(one)]
    assert set(asked) == {"session", "interests", "long_term", "content"}


def test_beside_a_tower_only_the_history_as_a_whole_is_asked_for(shop: Shop) -> None:
    likes = profile(shop, ("click", "lamp-1"), ("click", "rug-1"))
    wanted, bits = sources.queries(likes, shop.catalogue, beside_tower=True)
    assert [name for one in bits for name in sources.names_of(one)] == ["session", "long_term"]
    assert np.array_equal(wanted[0], likes.session)


def test_new_items_of_a_liked_kind_come_before_newer_ones(shop: Shop) -> None:
    likes = profile(shop, ("click", "lamp-0"))
    newest = np.array([shop.catalogue.row("vase-4")] * 50 + [shop.catalogue.row("lamp-4")])
    vectors = shop.catalogue.vectors[newest].astype(np.float32)
    liked, _ = sources.new(likes, newest, vectors)
    assert shop.catalogue.row("lamp-4") in liked
