"""Say why an item is in a list, in words a shopper understands. Pure.

An item's reason is the part of its score that lifts it most above what is usual in its list: nearly
all have a little of each. What speaks for it is named, and of what speaks for it about equally that
which the list has named least.

Legend: k items of the list; p parts of the blend; m liked items of the user, newest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.features import NEW_FROM
from shared.bundles.candidates import FeatureColumn
from shared.users import event_types

PINNED: Final = "picked for this place"
LISTED: Final = "in the shop"  # all that is true of an item that nothing speaks for
WATCHED_OF: Final = 5  # the last liked items of which one is named as what was watched last
NEARLY: Final = 2 / 3  # of the strongest: as good a reason
# What lifts an item by its likeness to what is liked; only their reasons read Facts.alike.
BY_LIKENESS: Final = frozenset(
    {
        FeatureColumn.SESSION,
        FeatureColumn.INTERESTS,
        FeatureColumn.LONG_TERM,
        FeatureColumn.CONTENT,
        FeatureColumn.NEW,
    }
)

_VERBS: Final = {
    event_types.VIEW: "viewed",
    event_types.CLICK: "clicked",
    event_types.LIKE: "liked",
    event_types.SHARE: "shared",
    event_types.CART: "put in your cart",
    event_types.PURCHASE: "bought",
    event_types.RATE: "rated",
}

Floats = NDArray[np.floating]


class LikedTitle(NamedTuple):
    """An item that the user's history speaks for, as a reason names it."""

    title: str
    type: int  # of the event, shared/users/event_types.py

    @property
    def acted(self) -> str:
        """What the user did with it, in words."""
        if self.type == event_types.CART:
            return f"you put {self.title} in your cart"
        return f"you {_VERBS.get(self.type, 'chose')} {self.title}"


class Facts(NamedTuple):
    """What can be said of one item of the list."""

    alike: Sequence[float]  # (m,) cosines of the liked items to it
    followed: Sequence[float]  # (m,) how surely it follows each of them; 0: not at all
    trending_in: str  # the category or segment where it is strongest; empty: all
    towered: Sequence[float] = ()  # (m,) cosines of the liked items' tower vectors to its own


def lifted_by(
    parts: Floats,  # (k, p) what each adds to the scores, in the order of blend.PARTS
    usual: Floats,  # (p,) what each adds to a candidate's score on average
    fresh: Floats,  # (k,) 1 at an item's arrival, half of it after a half-life
) -> list[int]:
    """Return the part that lifts each item most, -1 where none does, (k,)."""
    speaks = parts > 0
    speaks[fresh < NEW_FROM, FeatureColumn.FRESHNESS] = False
    above = np.where(speaks, parts - usual, -np.inf)
    as_all_others = above.max(axis=1) <= 0
    above[as_all_others] = np.where(speaks, parts, -np.inf)[as_all_others]
    strongest: list[int] = np.where(speaks.any(axis=1), above.argmax(axis=1), -1).tolist()
    return strongest


class Reasons:
    """Puts a list's reasons into words, item by item."""

    def __init__(self, liked: Sequence[LikedTitle]) -> None:
        self._liked = liked  # (m,)
        self._named: Counter[int] = Counter()

    def of(self, part: int, facts: Facts) -> str:
        """Return the reason of an item that a part lifts; -1: none does.

        FeatureColumn.NEW, no part of the score, is that of one with a place for new items.
        """
        if part < 0:
            return LISTED
        if part == FeatureColumn.TRENDING:
            return f"trending in {facts.trending_in}" if facts.trending_in else "trending now"
        if part == FeatureColumn.POPULARITY:
            return "popular"
        if part == FeatureColumn.FRESHNESS:
            return "new here"
        if part == FeatureColumn.COVISITS:
            known = self._name(facts.followed)
            return f"others went on to this{f' from {known.title}' if known else ''}"
        if part == FeatureColumn.TOWER:
            known = self._name(facts.towered[:WATCHED_OF])
            return f"because of what you watched last{f': {known.title}' if known else ''}"
        known = self._name(facts.alike)
        if part == FeatureColumn.NEW:
            return f"new here and like {known.title}" if known else "new here"
        if part == FeatureColumn.CONTENT and known:
            return f"like {known.title}"
        if part in (FeatureColumn.SESSION, FeatureColumn.CONTENT):
            return f"because {known.acted}" if known else "fits your visit"
        return f"fits your taste{f': {known.acted}' if known else ''}"

    def _name(self, strengths: Sequence[float]) -> LikedTitle | None:
        """Return what speaks for an item most, or about as much and was named less often."""
        most = max(strengths, default=0)
        if most <= 0:
            return None
        equal = [index for index, each in enumerate(strengths) if each >= NEARLY * most]
        index = min(equal, key=lambda index: (self._named[index], -strengths[index]))
        self._named[index] += 1
        return self._liked[index]
