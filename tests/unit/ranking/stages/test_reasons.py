from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.ranking.stages.blend import PARTS
from services.ranking.stages.reasons import Facts, Floats, LikedTitle, Reasons, lifted_by
from shared.bundles.candidates import FeatureColumn
from shared.users import event_types

LAMP = LikedTitle("Lamp", event_types.CLICK)
RUG = LikedTitle("Rug", event_types.VIEW)
USUAL = np.full(len(PARTS), 0.1, np.float32)


def parts(**added: float) -> Floats:
    """Return what each part adds; what is not named adds the usual."""
    return np.array([added.get(name, 0.1) for name in PARTS], np.float32)


def facts(
    alike: Sequence[float] = (0.9,),
    followed: Sequence[float] = (0.0,),
    trending_in: str = "",
    towered: Sequence[float] = (),
) -> Facts:
    return Facts(alike, followed, trending_in, towered)


def because(part: str, facts: Facts, liked: Sequence[LikedTitle] = (LAMP,)) -> str:
    (lifted,) = lifted_by(parts(**{part: 1})[None], USUAL, np.ones(1))
    return Reasons(liked).of(lifted, facts)


def lifts(added: Floats, usual: Floats = USUAL, fresh: float = 1) -> str:
    """Return the name of the part that lifts an item, empty where none does."""
    (lifted,) = lifted_by(added[None], usual, np.array([fresh]))
    return "" if lifted < 0 else PARTS[lifted]


@pytest.mark.parametrize(
    ("part", "known", "words"),
    [
        ("session", facts(), "because you clicked Lamp"),
        ("content", facts(), "like Lamp"),
        ("interests", facts(), "fits your taste: you clicked Lamp"),
        ("covisits", facts(followed=[0.2]), "others went on to this from Lamp"),
        ("covisits", facts(), "others went on to this"),
        ("trending", facts(trending_in="chairs"), "trending in chairs"),
        ("trending", facts(), "trending now"),
        ("popularity", facts(), "popular"),
        ("freshness", facts(), "new here"),
        ("tower", facts(towered=[0.4]), "because of what you watched last: Lamp"),
        ("tower", facts(towered=[-0.4]), "because of what you watched last"),
    ],
)
def test_the_part_that_lifts_an_item_most_is_its_reason(
    part: str, known: Facts, words: str
) -> None:
    assert because(part, known) == words


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("session", "fits your visit"),
        ("content", "fits your visit"),
        ("long_term", "fits your taste"),
    ],
)
def test_nothing_is_named_where_nothing_is_liked(part: str, words: str) -> None:
    assert because(part, facts(alike=[], followed=[]), liked=[]) == words


@pytest.mark.parametrize(
    ("type", "words"),
    [
        (event_types.VIEW, "because you viewed Rug"),
        (event_types.CART, "because you put Rug in your cart"),
        (200, "because you chose Rug"),
    ],
)
def test_a_reason_says_what_the_user_did(type: int, words: str) -> None:
    assert because("session", facts(), liked=[LikedTitle("Rug", type)]) == words


def test_an_item_with_a_place_for_new_ones_says_so_and_what_it_is_like() -> None:
    assert Reasons([LAMP]).of(FeatureColumn.NEW, facts()) == "new here and like Lamp"
    assert Reasons([]).of(FeatureColumn.NEW, facts(alike=[], followed=[])) == "new here"


def test_what_every_item_has_is_no_reason() -> None:
    usual = parts(session=0.8, covisits=2.0)
    best_seller = parts(session=0.8, covisits=2.0, popularity=0.15)
    assert lifts(best_seller, usual) == "popularity"


def test_of_an_item_like_all_others_the_largest_part_is_the_reason() -> None:
    alike = parts(session=0.8)
    assert lifts(alike, alike) == "session"


def test_an_item_that_came_long_ago_is_not_called_new() -> None:
    assert lifts(parts(freshness=2, popularity=0.15), fresh=0.4) == "popularity"
    only_old = np.where(np.array(PARTS) == "freshness", 0.1, 0).astype(np.float32)
    assert lifts(only_old, fresh=0.4) == ""


def test_the_strongest_source_of_each_item_is_named() -> None:
    reasons = Reasons([LAMP, RUG])
    named = [
        reasons.of(PARTS.index("covisits"), facts([0.9, 0.9], followed))
        for followed in ([0.5, 0.1], [0.5, 0.1], [0.1, 0.5])
    ]
    assert [words.rsplit(" ", 1)[1] for words in named] == ["Lamp", "Lamp", "Rug"]


def test_among_equal_sources_the_named_one_varies_over_a_list() -> None:
    reasons = Reasons([LAMP, RUG])
    named = [reasons.of(PARTS.index("content"), facts([0.9, 0.85])) for _ in range(4)]
    assert named == ["like Lamp", "like Rug"] * 2


def test_of_an_item_that_nothing_speaks_for_it_is_said_that_it_is_there() -> None:
    assert lifts(np.full(len(PARTS), -1.0, np.float32)) == ""
    assert Reasons([]).of(-1, facts([], [])) == "in the shop"
