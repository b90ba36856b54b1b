"""Offers merged with the items' own terms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from freshet.contract.items import Item
from freshet.contract.offers import Offer
from services.ranking.live.offers import TAKEN_BACK_KEPT_MS, OfferChange, Offers
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.offer_columns import ALWAYS_FROM, ALWAYS_UNTIL
from tests.unit.shared.catalogue.makers import DIM, SPACE, catalogue_of, delete, put, unit


class Shown(NamedTuple):
    """An item's terms as they hold."""

    price: float | None = None
    currency: str = ""
    in_stock: bool = True
    window: tuple[int, int] = (ALWAYS_FROM, ALWAYS_UNTIL)


def shown(offers: Offers, catalogue: Catalogue, item_id: str) -> Shown:
    row, terms = catalogue.row(item_id), offers.terms
    price = float(terms.price[row])
    return Shown(
        None if np.isnan(price) else price,
        catalogue.currencies.word(int(terms.currency[row])),
        bool(terms.in_stock[row]),
        (int(terms.available_from[row]), int(terms.available_until[row])),
    )


def offer(item_id: str, version: int, **fields: Any) -> OfferChange:
    return OfferChange(item_id, version, Offer(item_id=item_id, **fields))


def taken_back(item_id: str, version: int) -> OfferChange:
    return OfferChange(item_id, version, None)


def test_offer_changes_its_groups_and_leaves_the_others() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR", available_from_ms=5))
    offers = Offers(catalogue)
    rows = offers.apply([offer("a", 2, in_stock=False)])
    assert rows.tolist() == [0]
    assert shown(offers, catalogue, "a") == Shown(10.0, "EUR", False, (5, ALWAYS_UNTIL))
    offers.apply([offer("a", 3, price=8.0, currency="USD")])
    assert shown(offers, catalogue, "a") == Shown(8.0, "USD", False, (5, ALWAYS_UNTIL))
    assert catalogue.item(0).price == 10.0, "the item's own stays"


def test_price_comes_with_its_currency_also_when_it_has_none() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR"))
    offers = Offers(catalogue)
    offers.apply([offer("a", 2, price=8.0)])
    assert shown(offers, catalogue, "a") == Shown(8.0, "")


def test_currency_without_a_price_says_nothing() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR"))
    offers = Offers(catalogue)
    assert offers.apply([offer("a", 2, currency="USD")]).tolist() == []
    assert shown(offers, catalogue, "a") == Shown(10.0, "EUR")


def test_later_version_wins_whether_offer_or_item() -> None:
    catalogue = catalogue_of(put("a", 5, price=10.0))
    offers = Offers(catalogue)
    offers.apply([offer("a", 4, price=8.0)])
    assert shown(offers, catalogue, "a").price == 10.0
    offers.apply([offer("a", 6, price=7.0)])
    assert shown(offers, catalogue, "a").price == 7.0
    catalogue.apply([put("a", 7, price=9.0)])
    assert shown(offers, catalogue, "a").price == 9.0


def test_of_equal_versions_the_offer_wins_over_the_item() -> None:
    catalogue = catalogue_of(put("a", 5, price=10.0))
    offers = Offers(catalogue)
    offers.apply([offer("a", 5, price=8.0)])
    assert shown(offers, catalogue, "a").price == 8.0


def test_item_that_does_not_carry_the_group_leaves_it_to_an_older_offer() -> None:
    catalogue = catalogue_of(put("a", 1))
    offers = Offers(catalogue)
    offers.apply([offer("a", 2, price=8.0, in_stock=False)])
    catalogue.apply([put("a", 9, title="new title")])
    assert shown(offers, catalogue, "a") == Shown(8.0, "", False)


def test_offer_for_an_unknown_item_waits_for_it() -> None:
    catalogue = catalogue_of()
    offers = Offers(catalogue)
    assert offers.apply([offer("a", 5, in_stock=False)]).tolist() == []
    catalogue.apply([put("a", 1)])
    assert shown(offers, catalogue, "a") == Shown(in_stock=False)


def test_offer_stays_with_an_item_that_gets_a_new_row() -> None:
    catalogue = catalogue_of(put("a", 1, unit(1)))
    offers = Offers(catalogue)
    offers.apply([offer("a", 5, in_stock=False)])
    catalogue.apply([put("a", 6, unit(2))])
    assert catalogue.row("a") == 1
    assert shown(offers, catalogue, "a") == Shown(in_stock=False)


def test_null_takes_the_offer_back_and_the_items_own_values_return() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0))
    offers = Offers(catalogue)
    offers.apply([offer("a", 2, price=8.0, in_stock=False, available_until_ms=9)])
    offers.apply([taken_back("a", 3)])
    assert shown(offers, catalogue, "a") == Shown(10.0)
    offers.apply([offer("a", 2, price=8.0)])
    assert shown(offers, catalogue, "a") == Shown(10.0), "an older offer does not come back"
    assert offers.stale == 1
    offers.apply([offer("a", 4, price=6.0)])
    assert shown(offers, catalogue, "a") == Shown(6.0)


def test_null_older_than_the_offer_changes_nothing() -> None:
    catalogue = catalogue_of(put("a"))
    offers = Offers(catalogue)
    offers.apply([offer("a", 5, price=8.0), taken_back("a", 4)])
    assert shown(offers, catalogue, "a") == Shown(8.0)


def test_offers_begun_on_a_full_catalogue_show_the_items_own_terms() -> None:
    catalogue = catalogue_of(put("a", price=3.0), put("b", in_stock=False))
    offers = Offers(catalogue)
    assert shown(offers, catalogue, "a") == Shown(3.0)
    assert shown(offers, catalogue, "b") == Shown(in_stock=False)


def test_listener_hears_rows_of_offers_and_of_all_that_the_catalogue_changed() -> None:
    catalogue = catalogue_of(put("a"))
    offers = Offers(catalogue)
    heard: list[list[int]] = []
    offers.listen(lambda rows: heard.append(rows.tolist()))
    offers.apply([offer("a", 2, price=1.0), offer("nobody", 2, price=1.0)])
    catalogue.apply([put("b"), put("a", 3, title="new")])
    catalogue.apply([delete("b", 9)])
    offers.apply([offer("nobody", 3, price=1.0)])
    assert heard == [[0], [0, 1], [1]]


def test_offers_taken_back_long_ago_are_forgotten_and_the_others_stay() -> None:
    catalogue = catalogue_of(put("kept", price=1.0))
    offers = Offers(catalogue)
    offers.apply([offer("kept", 5, price=2.0)])
    now = 0
    for round_ in range(4):
        now = round_ * (TAKEN_BACK_KEPT_MS + 1) + 10
        offers.apply([taken_back(f"gone-{round_}-{n}", now) for n in range(1_024)])
    assert len(offers) <= 2 * 1_024 + 1
    assert shown(offers, catalogue, "kept") == Shown(2.0)
    offers.apply([offer("kept", now, price=3.0)])
    assert shown(offers, catalogue, "kept") == Shown(3.0)


def test_second_item_with_the_same_key_shares_the_offer() -> None:
    catalogue = Catalogue(SPACE, DIM, key_of=lambda item_id: 7)
    catalogue.apply([put("a")])
    offers = Offers(catalogue, key_of=lambda item_id: 7)
    offers.apply([offer("b", 2, price=1.0)])
    assert shown(offers, catalogue, "a") == Shown(1.0)


IDS = ("a", "b")
TERMS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "price": st.sampled_from((0.0, 1.5)),
        "currency": st.sampled_from(("EUR", "USD")),
        "in_stock": st.booleans(),
        "available_from_ms": st.sampled_from((1, 2)),
        "available_until_ms": st.sampled_from((3, 4)),
    },
)
Record = Change | OfferChange


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Draw items, deletes, offers and nulls, in any order of their versions."""
    made: list[Record] = []
    for version in draw(st.permutations(range(1, draw(st.integers(1, 14)) + 1))):
        item_id = draw(st.sampled_from(IDS))
        kind = draw(st.sampled_from(("item", "item", "delete", "offer", "offer", "offer", "null")))
        if kind == "item":
            made.append(put(item_id, version, unit(draw(st.integers(0, 1))), **draw(TERMS)))
        elif kind == "delete":
            made.append(delete(item_id, version))
        elif kind == "offer":
            made.append(offer(item_id, version, **draw(TERMS)))
        else:
            made.append(taken_back(item_id, version))
    return made


def carries(record: Item | Offer, group: str) -> bool:
    if group == "price":
        return record.price is not None
    if group == "stock":
        return record.in_stock is not None
    return record.available_from_ms is not None or record.available_until_ms is not None


def naive(made: list[Record], item_id: str) -> Shown | None:
    """Work an item's terms out from all records, the plain way; None if the item is not there."""
    own = [record for record in made if isinstance(record, Change) and record.item_id == item_id]
    newest = max(own, key=lambda record: record.version, default=None)
    if newest is None or newest.item is None:
        return None
    offered = [rec for rec in made if isinstance(rec, OfferChange) and rec.item_id == item_id]
    winner: dict[str, Item | Offer] = {}
    for group in ("price", "stock", "window"):
        said = [rec for rec in offered if rec.offer is None or carries(rec.offer, group)]
        last = max(said, key=lambda record: record.version, default=None)
        item = newest.item.item
        winner[group] = item
        if last is None or last.offer is None:
            continue
        if last.version >= newest.version or not carries(item, group):
            winner[group] = last.offer
    price, window = winner["price"], winner["window"]
    start, end = window.available_from_ms, window.available_until_ms
    return Shown(
        price.price,
        (price.currency or "") if price.price is not None else "",
        winner["stock"].in_stock is not False,
        (ALWAYS_FROM if start is None else start, ALWAYS_UNTIL if end is None else end),
    )


@given(records(), st.lists(st.integers(1, 3), min_size=14))
def test_merged_terms_are_those_worked_out_from_all_records(
    made: list[Record], batches: list[int]
) -> None:
    catalogue = Catalogue(SPACE, DIM)
    offers = Offers(catalogue)
    waiting = list(made)
    for size in batches:
        batch, waiting = waiting[:size], waiting[size:]
        catalogue.apply([record for record in batch if isinstance(record, Change)])
        offers.apply([record for record in batch if isinstance(record, OfferChange)])
    for item_id in IDS:
        wanted = naive(made, item_id)
        assert (catalogue.row(item_id) >= 0) == (wanted is not None)
        if wanted is not None:
            assert shown(offers, catalogue, item_id) == wanted


@pytest.mark.parametrize("rows", [np.array([1, 0]), np.array([], np.int64)])
def test_terms_of_rows_can_be_copied(rows: NDArray[np.int64]) -> None:
    catalogue = catalogue_of(put("a", price=1.0), put("b", price=2.0))
    copied = Offers(catalogue).terms.columns(rows)
    assert copied["price"].tolist() == [[1.0, 2.0][row] for row in rows]
