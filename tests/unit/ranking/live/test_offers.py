"""Offers merged with the items' own terms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from freshet.contract.items import Item
from freshet.contract.offers import Offer
from services.ranking.live.offers import TAKEN_BACK_KEPT_MS, Offers
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.offers import ALWAYS_FROM, ALWAYS_UNTIL, OfferChange
from tests.unit.ranking.live.offer_makers import offer, taken_back
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


def test_offer_changes_its_groups_and_leaves_the_others() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR", available_from_ms=5))
    offers = Offers(catalogue)
    rows = offers.apply([offer("a", 2, in_stock=False)])
    assert rows.tolist() == [0]
    assert shown(offers, catalogue, "a") == Shown(10.0, "EUR", False, (5, ALWAYS_UNTIL))
    offers.apply([offer("a", 3, price=8.0, currency="USD")])
    assert shown(offers, catalogue, "a") == Shown(8.0, "USD", False, (5, ALWAYS_UNTIL))
    assert catalogue.item(0).price == 10.0, "the item's own stays"


def test_price_without_a_currency_keeps_the_one_that_stands() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR"))
    offers = Offers(catalogue)
    offers.apply([offer("a", 2, price=8.0)])
    assert shown(offers, catalogue, "a") == Shown(8.0, "EUR"), "the item's"
    offers.apply([offer("a", 3, price=9.0, currency="USD"), offer("a", 4, price=7.0)])
    assert shown(offers, catalogue, "a") == Shown(7.0, "USD"), "an earlier offer's"
    catalogue.apply([put("a", 5, price=6.0, currency="SEK")])
    offers.apply([offer("a", 6, price=5.0)])
    assert shown(offers, catalogue, "a") == Shown(5.0, "SEK"), "a later item's"


def test_currency_alone_changes_the_currency_alone() -> None:
    catalogue = catalogue_of(put("a", 1, price=10.0, currency="EUR"))
    offers = Offers(catalogue)
    offers.apply([offer("a", 2, currency="USD")])
    assert shown(offers, catalogue, "a") == Shown(10.0, "USD")


def test_currency_waits_for_a_price() -> None:
    catalogue = catalogue_of(put("a", 1, currency="EUR"))
    offers = Offers(catalogue)
    assert shown(offers, catalogue, "a") == Shown()
    offers.apply([offer("a", 2, price=8.0)])
    assert shown(offers, catalogue, "a") == Shown(8.0, "EUR")


def test_offer_with_an_old_updated_ms_counts_after_one_without_and_after_a_null() -> None:
    for before in (offer("a", 1_000, price=8.0), taken_back("a", 1_000)):
        catalogue = catalogue_of(put("a", 1))
        offers = Offers(catalogue)
        offers.apply([before, offer("a", 1_001, price=7.0, updated_ms=5)])
        assert shown(offers, catalogue, "a") == Shown(7.0)
        assert offers.stale == 0


def test_of_offers_that_state_updated_ms_the_latest_stands() -> None:
    catalogue = catalogue_of(put("a", 1))
    offers = Offers(catalogue)
    offers.apply([offer("a", 1_000, price=8.0, updated_ms=6)])
    offers.apply([offer("a", 1_001, price=7.0, updated_ms=5)])
    assert shown(offers, catalogue, "a") == Shown(8.0)
    assert offers.stale == 1


def test_offer_and_item_are_compared_by_one_clock() -> None:
    """By the shop's where both state it: the log has the nightly import of old prices last."""
    catalogue = catalogue_of(put("a", 2_000, price=10.0, updated_ms=100))
    offers = Offers(catalogue)
    offers.apply([offer("a", 1_500, price=8.0, updated_ms=150)])
    assert shown(offers, catalogue, "a").price == 8.0
    offers.apply([offer("a", 1_600, price=7.0)])
    assert shown(offers, catalogue, "a").price == 10.0, "stated by the log alone, and before it"
    offers.apply([offer("a", 2_100, price=6.0)])
    assert shown(offers, catalogue, "a").price == 6.0
    catalogue.apply([put("a", 2_200, price=5.0)])
    assert shown(offers, catalogue, "a").price == 5.0


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


GROUPS = {
    "price": ("price",),
    "currency": ("currency",),
    "stock": ("in_stock",),
    "window": ("available_from_ms", "available_until_ms"),
}


def carries(record: Item | Offer, group: str) -> bool:
    return any(getattr(record, name) is not None for name in GROUPS[group])


def naive(made: list[Record], item_id: str) -> Shown | None:
    """Work an item's terms out from all records, the plain way; None if the item is not there."""
    own = [record for record in made if isinstance(record, Change) and record.item_id == item_id]
    newest = max(own, key=lambda record: record.version, default=None)
    if newest is None or newest.item is None:
        return None
    offered = [rec for rec in made if isinstance(rec, OfferChange) and rec.item_id == item_id]
    winner: dict[str, Item | Offer] = {}
    for group in GROUPS:
        said = [rec for rec in offered if rec.offer is None or carries(rec.offer, group)]
        last = max(said, key=lambda record: record.origin.time_ms, default=None)
        item = newest.item.item
        winner[group] = item
        if last is None or last.offer is None:
            continue
        if last.origin.time_ms >= newest.version or not carries(item, group):
            winner[group] = last.offer
    window = winner["window"]
    start, end = window.available_from_ms, window.available_until_ms
    return Shown(
        winner["price"].price,
        "" if winner["price"].price is None else winner["currency"].currency or "",
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


class Replica:
    """An instance of ranking that has read a log up to some record."""

    def __init__(self) -> None:
        self.catalogue = catalogue_of(put("a", 1, price=1.0, currency="SEK"))
        self.offers = Offers(self.catalogue)
        self.read = 0

    def follow(self, log: list[OfferChange], at_most: int = 10**6) -> None:
        self.offers.apply(log[self.read : self.read + at_most])
        self.read = min(len(log), self.read + at_most)

    def make_whole(self, log: list[OfferChange]) -> None:
        """Publish as one record what stands here, for items where the last one does not."""
        for item_id in self.offers.unwhole():
            whole = self.offers.whole(item_id)
            assert whole is not None
            time_ms = log[-1].origin.time_ms
            origin = log[-1].origin._replace(offset=len(log), time_ms=time_ms)
            log.append(OfferChange(item_id, whole.offer, origin, whole.versions))

    def shown(self) -> Shown:
        return shown(self.offers, self.catalogue, "a")


def test_replica_started_after_compaction_shows_what_the_others_show() -> None:
    log = [offer("a", 10, price=5.0, currency="EUR"), offer("a", 20, in_stock=False)]
    before = Replica()
    before.follow(log)
    before.make_whole(log)
    after = Replica()
    after.follow(log[-1:])
    assert after.shown() == before.shown() == Shown(5.0, "EUR", False)
    before.follow(log)
    assert before.offers.unwhole() == after.offers.unwhole() == []


def test_whole_offer_is_not_published_again() -> None:
    replica = Replica()
    replica.follow([offer("a", 10, price=5.0, currency="EUR"), offer("a", 20, price=6.0)])
    assert replica.offers.unwhole() == ["a"], "the currency stands in the first alone"
    replica.follow([offer("a", 30, price=7.0, currency="EUR")] * 3)
    assert replica.offers.unwhole() == []


def test_what_was_taken_back_is_forgotten_by_a_replica_that_reads_a_late_whole_offer_last() -> None:
    log = [offer("a", 10, price=5.0), offer("a", 20, in_stock=False)]
    late, other = Replica(), Replica()
    late.follow(log)
    log.append(taken_back("a", 30))
    late.make_whole(log)  # it has not read the null
    other.follow(log)
    assert other.shown() == Shown(1.0, "SEK")
    other.make_whole(log)
    after = Replica()
    after.follow(log[-1:])
    assert after.shown() == Shown(1.0, "SEK")


def stands_in_order(log: list[OfferChange]) -> dict[str, Offer]:
    """Work out the plain way which offer stands for each group, in the log's order."""
    stands: dict[str, Offer] = {}
    for change in log:
        for group in GROUPS:
            if change.offer is None:
                stands.pop(group, None)
            elif carries(change.offer, group):
                stated, before = change.offer.updated_ms, stands.get(group)
                held = before.updated_ms if before is not None else None
                if stated is None or held is None or stated >= held:
                    stands[group] = change.offer
    return stands


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_replica_of_any_compaction_shows_what_all_records_in_order_say(
    data: st.DataObject,
) -> None:
    """Several instances read at their own pace and make whole what they know of by then."""
    log: list[OfferChange] = []
    said: list[OfferChange] = []
    replicas = [Replica(), Replica()]
    time_ms = 1_000
    for _ in range(data.draw(st.integers(1, 10))):
        step = data.draw(st.sampled_from(("offer", "offer", "null", "read", "read", "whole")))
        replica = data.draw(st.sampled_from(replicas))
        if step in ("offer", "null"):
            time_ms += data.draw(st.integers(0, 1))  # 0: in one batch
            terms = data.draw(TERMS) | {"updated_ms": data.draw(st.none() | st.integers(1, 9))}
            made = (
                offer("a", time_ms, offset=len(log), **terms)
                if step == "offer"
                else taken_back("a", time_ms, offset=len(log))
            )
            log.append(made)
            said.append(made)
        elif step == "read":
            replica.follow(log, data.draw(st.integers(1, 3)))
        elif log:
            replica.make_whole(log)
    for _ in range(10):
        for replica in replicas:
            replica.follow(log)
            replica.make_whole(log)
        if all(replica.read == len(log) for replica in replicas):
            break
    else:
        pytest.fail("instances that answer each other for ever")
    after = Replica()
    after.follow(log[data.draw(st.integers(0, len(log) - 1)) :] if log else [])
    stands = stands_in_order(said)
    none = Offer(item_id="a")
    price, currency = stands.get("price", none), stands.get("currency", none)
    window = stands.get("window", none)
    start, end = window.available_from_ms, window.available_until_ms
    wanted = Shown(
        1.0 if price.price is None else price.price,
        currency.currency or "SEK",
        stands.get("stock", none).in_stock is not False,
        (ALWAYS_FROM if start is None else start, ALWAYS_UNTIL if end is None else end),
    )
    assert [replica.shown() for replica in (*replicas, after)] == [wanted] * 3


@pytest.mark.parametrize("rows", [np.array([1, 0]), np.array([], np.int64)])
def test_terms_of_rows_can_be_copied(rows: NDArray[np.int64]) -> None:
    catalogue = catalogue_of(put("a", price=1.0), put("b", price=2.0))
    copied = Offers(catalogue).terms.columns(rows)
    assert copied["price"].tolist() == [[1.0, 2.0][row] for row in rows]
