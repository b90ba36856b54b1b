"""Say why an item is in a list, in words a shopper understands. Pure.

Legend: k items of the list; p parts of the blend; m liked items of the user, newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.features import FeatureColumn
from shared.users import event_types

PINNED: Final = "picked for this place"

_VERBS: Final = {
    event_types.VIEW: "viewed",
    event_types.CLICK: "clicked",
    event_types.LIKE: "liked",
    event_types.SHARE: "shared",
    event_types.CART: "put in your cart",
    event_types.PURCHASE: "bought",
    event_types.RATE: "rated",
}


class LikedTitle(NamedTuple):
    """An item that the user's history speaks for, as a reason names it."""

    title: str
    type: int  # of the event, shared/users/event_types.py


class Facts(NamedTuple):
    """What can be said of one item of the list."""

    liked: Sequence[LikedTitle]  # (m,)
    nearest: int  # which of them is most like the item; -1: the user likes nothing known
    followed: int  # which of them others went on from; -1: none
    trending_in: str  # the category or segment where it is strongest; empty: all


def reason(parts: NDArray[np.float32], facts: Facts) -> str:
    """Return the reason of the largest contribution; parts: (p,) in the order of blend.PARTS."""
    strongest = int(parts.argmax())
    if parts[strongest] <= 0:
        return ""
    return _REASONS[strongest](facts)


def _acted(facts: Facts, index: int) -> str:
    """Say `you viewed TITLE` of one of the liked items."""
    liked = facts.liked[index]
    verb = _VERBS.get(liked.type, "chose")
    if liked.type == event_types.CART:
        return f"you put {liked.title} in your cart"
    return f"you {verb} {liked.title}"


def _session(facts: Facts) -> str:
    return f"because {_acted(facts, facts.nearest)}" if facts.nearest >= 0 else "fits your visit"


def _taste(facts: Facts) -> str:
    if facts.nearest < 0:
        return "fits your taste"
    return f"fits your taste: {_acted(facts, facts.nearest)}"


def _covisits(facts: Facts) -> str:
    if facts.followed < 0:
        return "others went on to this"
    return f"others went on to this from {facts.liked[facts.followed].title}"


def _trending(facts: Facts) -> str:
    return f"trending in {facts.trending_in}" if facts.trending_in else "trending now"


def _new(facts: Facts) -> str:
    return f"new and like {facts.liked[facts.nearest].title}" if facts.nearest >= 0 else "new"


_REASONS: Final[dict[int, Callable[[Facts], str]]] = {
    FeatureColumn.SESSION: _session,
    FeatureColumn.CONTENT: _session,
    FeatureColumn.INTERESTS: _taste,
    FeatureColumn.LONG_TERM: _taste,
    FeatureColumn.COVISITS: _covisits,
    FeatureColumn.TRENDING: _trending,
    FeatureColumn.POPULARITY: lambda _: "popular",
    FeatureColumn.NEW: _new,
    FeatureColumn.FRESHNESS: lambda _: "new",
    FeatureColumn.DISLIKE: lambda _: "",  # never positive
}
