"""What offers say of price and stock stands over the items' own words, as it does in lists."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord

from freshet.contract.offers import Offer, encode_offer
from freshet.contract.records import WHOLE
from services.gateway.console.shown_offers import ShownOffers

OWN = Offer(item_id="mug", price=18.0, currency="EUR")
AT_MS = 100  # of the item's record


def record(at_ms: int, *, whole: bytes = b"", taken_back: bool = False, **said: Any) -> Any:
    """Return a record of `offers`."""
    value = None if taken_back else encode_offer(Offer(item_id="mug", **said))
    headers = ((WHOLE, whole),) if whole else ()
    return ConsumerRecord("offers", 0, at_ms, at_ms, 0, b"mug", value, None, 3, 0, headers)


def terms(*consumed: Any, own: Offer = OWN) -> list[Any]:
    offers = ShownOffers()
    offers.take(consumed)
    return offers.terms(own, AT_MS)


def test_without_an_offer_the_item_says_what_it_costs() -> None:
    assert terms() == [18.0, "EUR", None]


def test_an_offer_gives_the_price_and_leaves_what_it_does_not_say() -> None:
    assert terms(record(200, price=9.5)) == [9.5, "EUR", None]


def test_offers_add_up_field_by_field_and_the_newest_counts() -> None:
    consumed = [record(200, price=9.5), record(201, in_stock=False), record(202, price=8.0)]

    assert terms(*consumed) == [8.0, "EUR", False]


def test_an_item_that_is_newer_says_its_own_price_and_an_older_offer_what_it_leaves_out() -> None:
    assert terms(record(50, price=9.5, in_stock=False)) == [18.0, "EUR", False]


def test_an_offer_that_is_taken_back_leaves_the_items_own_price() -> None:
    assert terms(record(200, price=9.5), record(201, taken_back=True)) == [18.0, "EUR", None]


def test_what_ranking_joined_into_one_record_is_as_old_as_its_parts() -> None:
    price, stock = b"50:0:-1:50:0", b"200:1:-1:200:1"
    whole = b",".join((price, b"", stock, b""))

    assert terms(record(300, whole=whole, price=9.5, in_stock=False)) == [18.0, "EUR", False]


def test_what_is_no_offer_is_passed_over() -> None:
    broken = ConsumerRecord("offers", 0, 1, 200, 0, b"mug", b"{", None, 3, 1, ())

    assert terms(broken, record(200, whole=b"garbage", price=9.5)) == [9.5, "EUR", None]
