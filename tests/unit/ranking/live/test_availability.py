"""Which items may be recommended now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranking.live.filters import Availability
from services.ranking.live.offers import Offers
from shared.catalogue.catalogue import Catalogue
from tests.unit.ranking.live.offer_makers import offer
from tests.unit.shared.catalogue.makers import DIM, SPACE, catalogue_of, delete, put


def watched(catalogue: Catalogue) -> tuple[Offers, Availability]:
    offers = Offers(catalogue)
    return offers, Availability(catalogue, offers)


def test_window_begins_at_its_first_and_ends_before_its_last_millisecond() -> None:
    catalogue = catalogue_of(put("a", available_from_ms=10, available_until_ms=20))
    _, availability = watched(catalogue)
    open_at = [time for time in range(30) if availability.mask(time)[0]]
    assert open_at == list(range(10, 20))
    assert not availability.mask(9)[0], "also when time goes back"


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({}, [True, False, False, False]),
        ({"out_of_stock": True}, [True, True, False, False]),
        ({"outside_window": True}, [True, False, True, False]),
        ({"out_of_stock": True, "outside_window": True}, [True, True, True, True]),
    ],
)
def test_flags_allow_what_is_out_of_stock_or_outside_its_window(
    flags: dict[str, bool], allowed: list[bool]
) -> None:
    catalogue = catalogue_of(
        put("a"),
        put("sold out", in_stock=False),
        put("over", available_until_ms=5),
        put("both", in_stock=False, available_until_ms=5),
        put("deleted"),
        delete("deleted", 2),
    )
    _, availability = watched(catalogue)
    assert availability.mask(10, **flags).tolist() == [*allowed, False]


def test_offer_and_delete_show_at_once() -> None:
    catalogue = catalogue_of(put("a"), put("b"))
    offers, availability = watched(catalogue)
    assert availability.mask(10).tolist() == [True, True]
    offers.apply([offer("a", 2, in_stock=False)])
    catalogue.apply([delete("b", 2), put("c")])
    assert availability.mask(10).tolist() == [False, False, True]


def test_window_that_an_offer_opens_later_opens_then() -> None:
    catalogue = catalogue_of(put("a"))
    offers, availability = watched(catalogue)
    assert availability.mask(10)[0]
    offers.apply([offer("a", 2, available_from_ms=15)])
    assert [bool(availability.mask(time)[0]) for time in (11, 14, 15, 16)] == [0, 0, 1, 1]


def test_mask_cannot_be_written_to() -> None:
    catalogue = catalogue_of(put("a"))
    _, availability = watched(catalogue)
    for mask in (availability.mask(1), availability.mask(1, out_of_stock=True)):
        with pytest.raises(ValueError, match="read-only"):
            mask[0] = False


TIMES = st.sampled_from((None, 3, 5, 8))
STEPS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4), st.booleans(), TIMES, TIMES), max_size=12
)


@given(STEPS)
def test_mask_is_that_of_a_plain_look_at_every_item_at_any_time(
    steps: list[tuple[int, int, bool, int | None, int | None]],
) -> None:
    catalogue = Catalogue(SPACE, DIM)
    _, availability = watched(catalogue)
    for version, (now_ms, item, in_stock, start, end) in enumerate(steps):
        change = put(
            f"item-{item}",
            version,
            in_stock=in_stock,
            available_from_ms=start,
            available_until_ms=end,
        )
        catalogue.apply([change])
        mask = availability.mask(now_ms)
        for row in range(len(catalogue)):
            held = catalogue.item(row)
            starts, ends = held.available_from_ms or 0, held.available_until_ms or 99
            assert mask[row] == (bool(held.in_stock) and starts <= now_ms < ends)
