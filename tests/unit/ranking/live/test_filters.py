"""Filters against a plain look at every item."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from freshet.contract.items import Attribute, Item
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.filters import ItemFilter
from services.ranking.live.offers import Offers
from shared.catalogue.catalogue import Catalogue
from shared.runtime.deadline import Costs, Deadline
from tests.unit.ranking.live.offer_makers import offer
from tests.unit.shared.catalogue.makers import catalogue_of, delete, put

NOW_MS = 10


def filter_of(catalogue: Catalogue) -> tuple[Offers, ItemFilter]:
    offers = Offers(catalogue)
    return offers, ItemFilter(catalogue, offers)


def mask_of(item_filter: ItemFilter, filters: pb.Filters) -> NDArray[np.bool_]:
    deadline = Deadline(time.monotonic() + 5, time.monotonic, Costs())
    return asyncio.run(item_filter.allowed(filters, NOW_MS, deadline))


def allowed(catalogue: Catalogue, filters: pb.Filters) -> list[str]:
    mask = mask_of(filter_of(catalogue)[1], filters)
    return [catalogue.ids[row] for row in np.flatnonzero(mask).tolist()]


def wanted(value: Attribute) -> item_pb2.Attribute:
    if isinstance(value, bool):
        return item_pb2.Attribute(flag=value)
    if isinstance(value, str):
        return item_pb2.Attribute(text=value)
    return item_pb2.Attribute(number=value)


SHOP = catalogue_of(
    put("lamp", categories=("home", "lamps"), tags=("sale",), price=19.99, currency="EUR"),
    put("sofa", categories=("home",), price=900.0, currency="USD", attributes={"seats": 3.0}),
    put("shoe", categories=("wear",), tags=("sale", "new"), price=60.0, attributes={"size": "42"}),
    put("gift", attributes={"size": 42.0, "wrapped": True}),
    put("sold", categories=("home",), price=5.0, currency="EUR", in_stock=False),
    put("past", categories=("home",), price=5.0, currency="EUR", available_until_ms=NOW_MS),
    put("gone", categories=("home",)),
    delete("gone", 2),
)


def has(name: str, *values: Attribute, **bounds: float) -> pb.AttributeFilter:
    wanted_range = pb.Range(**bounds) if bounds else None
    return pb.AttributeFilter(name=name, any_of=map(wanted, values), range=wanted_range)


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        ({}, ["lamp", "sofa", "shoe", "gift"]),
        ({"categories_any": ["home"]}, ["lamp", "sofa"]),
        ({"categories_any": ["lamps", "wear"]}, ["lamp", "shoe"]),
        ({"categories_any": ["nowhere"]}, []),
        ({"categories_none": ["home", "nowhere"]}, ["shoe", "gift"]),
        ({"categories_any": ["home"], "categories_none": ["lamps"]}, ["sofa"]),
        ({"tags_any": ["new", "sale"]}, ["lamp", "shoe"]),
        ({"price": pb.Range()}, ["lamp", "sofa", "shoe"]),
        ({"price": pb.Range(min=19.99, max=19.99)}, ["lamp"]),
        ({"price": pb.Range(min=20)}, ["shoe"]),  # 900 dollars are no 900 euros
        ({"price": pb.Range(min=20), "currency": "USD"}, ["sofa"]),
        ({"price": pb.Range(max=60), "currency": "EUR"}, ["lamp"]),
        ({"price": pb.Range(max=60), "currency": " eur"}, ["lamp"]),
        ({"categories_any": ["home "], "tags_any": [" sale"]}, ["lamp"]),
        ({"categories_none": [" home", "wear "]}, ["gift"]),
        ({"attributes": [has(" size", "42 ")]}, ["shoe"]),
        ({"price": pb.Range(), "currency": "JPY"}, []),
        ({"currency": "EUR"}, ["lamp"]),
        ({"currency": "usd"}, ["sofa"]),
        ({"attributes": [has("size")]}, ["shoe", "gift"]),
        ({"attributes": [has("size", "42")]}, ["shoe"]),
        ({"attributes": [has("size", 42.0)]}, ["gift"]),
        ({"attributes": [has("size", "42", 42.0)]}, ["shoe", "gift"]),
        ({"attributes": [has("size", min=40, max=42)]}, ["gift"]),
        ({"attributes": [has("size", "42", 42.0, 43.0, min=42)]}, ["gift"]),
        ({"attributes": [has("size", 42.0, min=43)]}, []),
        ({"attributes": [has("wrapped", True)]}, ["gift"]),
        ({"attributes": [has("wrapped", 1.0)]}, []),
        ({"attributes": [has("wrapped", False)]}, []),
        ({"attributes": [has("seats", min=3), has("size")]}, []),
        ({"attributes": [pb.AttributeFilter(name="size", any_of=[item_pb2.Attribute()])]}, []),
        ({"attributes": [has("unheard of")]}, []),
        ({"include_out_of_stock": True}, ["lamp", "sofa", "shoe", "gift", "sold"]),
        ({"include_unavailable": True}, ["lamp", "sofa", "shoe", "gift", "past"]),
        ({"categories_any": ["home"], "include_out_of_stock": True}, ["lamp", "sofa", "sold"]),
    ],
)
def test_filter_allows_exactly_what_it_describes(fields: dict[str, Any], items: list[str]) -> None:
    assert allowed(SHOP, pb.Filters(**fields)) == items


def test_offers_price_is_what_is_filtered_by() -> None:
    catalogue = catalogue_of(put("a", price=10.0, currency="EUR"))
    offers, item_filter = filter_of(catalogue)
    cheap = pb.Filters(price=pb.Range(max=5), currency="USD")
    assert not mask_of(item_filter, cheap)[0]
    offers.apply([offer("a", 2, price=4.0, currency="USD")])
    assert mask_of(item_filter, cheap)[0]


def test_a_range_without_currency_means_the_commonest_as_prices_come_and_go() -> None:
    catalogue = catalogue_of(put("a", price=10.0, currency="EUR"), put("b", price=10.0))
    offers, item_filter = filter_of(catalogue)
    cheap = pb.Filters(price=pb.Range(max=20))

    def listed() -> list[str]:
        mask = mask_of(item_filter, cheap)
        return [catalogue.ids[row] for row in np.flatnonzero(mask).tolist()]

    assert listed() == ["a", "b"]
    catalogue.apply([put(name, price=10.0, currency="USD") for name in ("c", "d")])
    assert listed() == ["b", "c", "d"]
    offers.apply([offer("c", 2, price=9.0, currency="EUR")])
    assert listed() == ["a", "b", "c"]
    catalogue.apply([delete("d", 2)])
    assert listed() == ["a", "b", "c"]


def test_blanks_around_what_was_published_do_not_count() -> None:
    catalogue = catalogue_of(
        put("a", categories=(" home",), tags=("sale ",), attributes={" size ": " 42"})
    )
    filters = pb.Filters(categories_any=["home"], tags_any=["sale"], attributes=[has("size", "42")])
    assert allowed(catalogue, filters) == ["a"]


def test_rows_that_are_asked_about_match_as_the_whole_catalogue_does() -> None:
    _, item_filter = filter_of(SHOP)
    rows = np.array([6, 2, 0, 2])
    for filters in (
        pb.Filters(),
        pb.Filters(tags_any=["sale"], price=pb.Range(min=1), attributes=[has("size")]),
        pb.Filters(categories_none=["wear"], include_out_of_stock=True),
    ):
        whole = mask_of(item_filter, filters)
        assert item_filter.matches(filters, rows, NOW_MS).tolist() == whole[rows].tolist()


LABELS = st.lists(st.sampled_from(("x", "y", "z")), max_size=2).map(tuple)
VALUES: st.SearchStrategy[Attribute] = st.sampled_from(("t", "u", "", 0.0, -0.0, 1.5, True, False))
NUMBERS = st.sampled_from((None, -1.0, 0.0, 1.5, 19.99))
ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "categories": LABELS,
            "tags": LABELS,
            "attributes": st.dictionaries(st.sampled_from(("m", "n")), VALUES),
            "price": st.sampled_from((None, 0.0, 1.5, 19.99)),
            "currency": st.sampled_from((None, "EUR", "USD")),
            "in_stock": st.sampled_from((None, True, False)),
            "available_from_ms": st.sampled_from((None, NOW_MS, NOW_MS + 1)),
            "available_until_ms": st.sampled_from((None, NOW_MS, NOW_MS + 1)),
        }
    ),
    max_size=6,
)


@st.composite
def ranges(draw: st.DrawFn) -> pb.Range:
    return pb.Range(min=draw(NUMBERS), max=draw(NUMBERS))


@st.composite
def any_filters(draw: st.DrawFn) -> pb.Filters:
    attributes = [
        pb.AttributeFilter(
            name=draw(st.sampled_from(("m", "n", "o"))),
            any_of=[wanted(value) for value in draw(st.lists(VALUES, max_size=3))],
            range=draw(st.none() | ranges()),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    return pb.Filters(
        categories_any=draw(LABELS),
        categories_none=draw(LABELS),
        tags_any=draw(LABELS),
        price=draw(st.none() | ranges()),
        currency=draw(st.sampled_from(("", "EUR", "eur", "JPY"))),
        attributes=attributes,
        include_out_of_stock=draw(st.booleans()),
        include_unavailable=draw(st.booleans()),
    )


def inside(value: float, bounds: pb.Range) -> bool:
    low = bounds.min if bounds.HasField("min") else -np.inf
    high = bounds.max if bounds.HasField("max") else np.inf
    return bool(low <= value <= high)


def has_attribute(item: Item, asked: pb.AttributeFilter) -> bool:
    if asked.name not in item.attributes:
        return False
    value = item.attributes[asked.name]
    equal = [
        each
        for message in asked.any_of
        for each in [getattr(message, message.WhichOneof("value") or "")]
        if type(each) is type(value) and each == value
    ]
    if asked.any_of and not equal:
        return False
    if asked.HasField("range"):
        return type(value) is float and inside(value, asked.range)
    return True


def meant_currency(items: list[Item], filters: pb.Filters) -> str:
    """Return the currency that a filter means; empty: any."""
    ends = filters.price.HasField("min") or filters.price.HasField("max")
    named = Counter(item.currency for item in items if item.price is not None and item.currency)
    if filters.currency or not ends or len(named) < 2:
        return filters.currency.strip().upper()
    return named.most_common(1)[0][0]  # of equals the first that came


def plainly_allowed(item: Item, filters: pb.Filters, currency: str) -> bool:
    """Say what services/ranking/live/filters.py promises, one item at a time."""
    start, end = item.available_from_ms, item.available_until_ms
    is_open = (start is None or start <= NOW_MS) and (end is None or end > NOW_MS)
    categories = set(item.categories)
    in_range = not filters.HasField("price") or (
        item.price is not None and inside(item.price, filters.price)
    )
    priced_in = item.currency if item.price is not None else None
    right_currency = priced_in == currency or not currency
    if not filters.currency:
        right_currency |= priced_in is None
    return (
        (filters.include_out_of_stock or item.in_stock is not False)
        and (filters.include_unavailable or is_open)
        and (not filters.categories_any or bool(categories & set(filters.categories_any)))
        and not categories & set(filters.categories_none)
        and (not filters.tags_any or bool(set(item.tags) & set(filters.tags_any)))
        and in_range
        and right_currency
        and all(has_attribute(item, asked) for asked in filters.attributes)
    )


@given(ITEMS, any_filters())
def test_filter_allows_what_a_plain_look_at_each_item_allows(
    items: list[dict[str, Any]], filters: pb.Filters
) -> None:
    changes = [put(f"item-{n}", **fields) for n, fields in enumerate(items)]
    published = [change.item.item for change in changes if change.item is not None]
    currency = meant_currency(published, filters)
    plain = [item.item_id for item in published if plainly_allowed(item, filters, currency)]
    assert allowed(catalogue_of(*changes), filters) == plain
