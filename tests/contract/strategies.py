"""Hypothesis strategies of good events, items, offers and users, at and inside every bound."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from freshet.contract.bounds import EARLIEST_MS, LATEST_MS
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.offers import Offer
from freshet.contract.users import User

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])

_MIDDLE_MS = (EARLIEST_MS + LATEST_MS) // 2


def _texts(at_least: int, at_most: int) -> SearchStrategy[str]:
    """Texts of so many UTF-8 bytes; a character has at most 4."""
    ascii_texts = st.text("aZ09 -_", min_size=at_least, max_size=at_most)
    return ascii_texts | st.text(_CHARACTERS, min_size=at_least, max_size=at_most // 4)


ids = _texts(1, 128)
times = st.integers(EARLIEST_MS, LATEST_MS)
numbers = st.floats(allow_nan=False, allow_infinity=False)
prices = st.floats(0, 1e308)
currencies = st.text("ABCXYZ", min_size=3, max_size=3)

events = st.builds(
    Event,
    user_id=ids,
    item_id=ids,
    type=_texts(1, 64).filter(lambda spelt: spelt.strip(" ")),
    time_ms=st.none() | times,
    session_id=st.none() | ids,
    request_id=st.none() | ids,
    event_id=st.none() | ids,
    position=st.none() | st.integers(0, 2**31 - 1),
    value=st.none() | numbers,
    context=st.dictionaries(_texts(0, 256), _texts(0, 256), max_size=32),
)
_offer: dict[str, SearchStrategy[Any]] = {
    "item_id": ids,
    "price": st.none() | prices,
    "currency": st.none() | currencies,
    "in_stock": st.none() | st.booleans(),
    "available_from_ms": st.none() | st.just(0) | st.integers(EARLIEST_MS, _MIDDLE_MS),
    "available_until_ms": st.none() | st.integers(_MIDDLE_MS, LATEST_MS),
    "updated_ms": st.none() | times,
}
offers = st.builds(Offer, **_offer)
_item: dict[str, SearchStrategy[Any]] = {
    **_offer,
    "created_ms": st.none() | times,
    "title": _texts(0, 512),
    "description": _texts(0, 2048),
    "categories": st.lists(ids, max_size=32).map(tuple),
    "tags": st.lists(ids, max_size=8).map(tuple),
    "attributes": st.dictionaries(ids, _texts(0, 1024) | numbers | st.booleans(), max_size=8),
}
items = (
    st.builds(Item, **_item)
    | st.builds(Item, **_item, image_bytes=st.binary(max_size=64))
    | st.builds(Item, **_item, image_uri=_texts(1, 2048))
)
users = st.builds(
    User,
    user_id=ids,
    country=st.none() | st.text("ABXYZ", min_size=2, max_size=2),
    language=st.none() | st.sampled_from(("de", "pt-BR", "zh-Hant-TW", "x" * 8)),
    segments=st.lists(ids, max_size=16).map(tuple),
    attributes=st.dictionaries(ids, _texts(0, 256) | numbers | st.booleans(), max_size=8),
    updated_ms=st.none() | times,
)

json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
