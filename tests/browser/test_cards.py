"""What a card says of an item: its offer's price, no stock, and a picture that is not kept here."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.test_console import cards, ids

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def offer(page: Page, item_id: str, **said: object) -> None:
    """Publish an offer as a shop's program does."""
    done = page.request.patch(f"/v1/offers/{quote(item_id, safe='')}", data=said)
    assert done.status == 202, done.text()


def reread_until(page: Page, item_id: str, text: str) -> None:
    """Open an item's sheet until it says something."""
    sheet = page.get_by_role("dialog")
    for _ in range(50):
        page.goto(f"/console?user=buyer&why={quote(item_id)}")
        expect(sheet.locator(".fate")).to_be_visible()
        if text in sheet.inner_text():
            return
    raise AssertionError(f"nothing of {text!r}")


def test_a_card_shows_the_offers_price_and_that_an_item_is_out_of_stock(open_page: Open) -> None:
    page = open_page("user=buyer")
    item_id = ids(page)[0]

    offer(page, item_id, price=3.25, currency="EUR")
    reread_until(page, item_id, "€3.25")
    expect(page.locator(f'.card[data-id="{item_id}"] .foot')).to_contain_text("€3.25")

    offer(page, item_id, in_stock=False)
    reread_until(page, item_id, "€3.25 · out of stock")

    offer(page, item_id, in_stock=True)


def test_a_picture_that_stands_elsewhere_is_a_tile_that_says_so(open_page: Open) -> None:
    page = open_page("user=ada")

    def without_pictures(route: Route) -> None:
        reply = route.fetch()
        shown = reply.json()
        for card in shown["cards"]:
            card |= {"picture": "", "elsewhere": True}
        route.fulfill(response=reply, json=shown)

    page.route("**/console/ask/cards*", without_pictures)
    page.reload()

    expect(cards(page).first.locator(".tile")).to_contain_text("picture at its address")
    expect(page.locator(".card img")).to_have_count(0)


def test_a_picture_that_does_not_come_is_a_tile_and_no_broken_image(open_page: Open) -> None:
    page = open_page("user=ada")
    page.route("**/console/picture/**", lambda route: route.fulfill(status=404))
    page.reload()

    expect(cards(page).first.locator(".tile")).to_be_visible()
    expect(page.locator(".card img")).to_have_count(0)
