"""What the page says and does in trouble: dead letters, a service, Kafka or the gateway away."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from freshet import kafka_clients
from freshet.contract.topics import CLICKS, ITEMS
from tests.browser.conftest import SCREENSHOTS, WITHIN_MS, Open, screenshot
from tests.browser.test_console import cards, faults, ids
from tests.e2e.system import Up

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

BACK_WITHIN_MS = 3 * WITHIN_MS  # consumers join anew


def beside_playwright(work: Coroutine[Any, Any, None]) -> None:
    """Run what needs asyncio in another thread: this one's loop is Playwright's."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def publish_garbage(up: Up, *topics: str) -> None:
    """Publish to each topic what is none of its records."""
    async with kafka_clients.producer(up.kafka) as producer:
        for topic in topics:
            await producer.send_and_wait(topic, b"no record of this topic", key=b"broken-till")


@contextmanager
def hung(up: Up, name: str) -> Iterator[None]:
    """Stop a process, as a machine that is gone does, and let it go on afterwards."""
    assert up.running is not None
    pid = up.running.processes[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def letters(page: Page) -> Any:
    return page.locator("section", has=page.get_by_role("heading", name="Dead letters"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_dead_letters_are_filtered_and_those_that_are_meant_are_published_again(
    open_page: Open, up: Up, dark: bool
) -> None:
    page = open_page("view=operations", dark=dark)
    panel = letters(page)
    beside_playwright(publish_garbage(up, CLICKS.name, ITEMS.name))

    panel.get_by_label("User, item or key").fill("broken-till")
    panel.get_by_label("User, item or key").press("Enter")
    expect(panel.locator("tbody tr", has_text="clicks:").first).to_contain_text("undecodable")
    expect(panel.locator("tbody tr", has_text="items:").first).to_contain_text("waits")
    panel.get_by_label("Topic").select_option("items")
    expect(panel.locator("tbody tr", has_text="clicks:")).to_have_count(0)
    again = panel.get_by_role("button", name=re.compile("Publish (this one|these) .*again"))

    again.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(re.compile(r"Publish \d+ records? again\?"))
    waiting = int(re.findall(r"\d+", dialog.get_by_role("heading").inner_text())[0])
    screenshot(page, SCREENSHOTS / f"dead-letters-confirmed-{'dark' if dark else 'light'}.png")
    assert faults(page) == []
    dialog.get_by_role("button", name="Leave them").click()
    expect(panel.locator("tbody tr").first).to_contain_text("waits")  # nothing was published
    again.click()
    dialog.get_by_role("button", name=f"Publish {waiting}").click()

    expect(panel.locator(".outcome")).to_contain_text("published again")
    # What is still no item comes back, as another letter; those before it wait no more.
    published = panel.locator("tbody tr", has=page.get_by_role("cell", name="published"))
    expect(published.nth(waiting - 1)).to_be_visible()
    panel.get_by_label("Topic").select_option("clicks")
    expect(panel.locator("tbody tr").first).to_contain_text("waits")  # it was left out
    panel.scroll_into_view_if_needed()
    assert faults(page) == []


def test_a_phone_shows_dead_letters_without_scrolling_aside(open_page: Open, up: Up) -> None:
    beside_playwright(publish_garbage(up, CLICKS.name))
    page = open_page("view=operations", width=390)
    expect(letters(page).locator("tbody tr").first).to_be_visible()
    letters(page).scroll_into_view_if_needed()

    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_kafka_away_is_named_and_a_click_is_kept_until_it_counts(open_page: Open, up: Up) -> None:
    page = open_page("user=patient-clicker")
    before = ids(page)

    with hung(up, "kafka"):
        expect(page.locator("#notice")).to_contain_text("Kafka does not answer")
        cards(page).first.locator(".picture").click()
        expect(page.locator(".trouble")).to_contain_text("Kafka")
        expect(page.locator(".unsent")).to_contain_text("is kept, sent again until it arrives")
        assert ids(page) == before  # what was shown stays
        screenshot(page, SCREENSHOTS / "kafka-stopped.png")

    expect(page.locator("#notice")).to_be_hidden(timeout=BACK_WITHIN_MS)
    expect(page.locator(".took")).to_contain_text("after the click", timeout=BACK_WITHIN_MS)
    expect(page.locator(".trouble")).to_be_empty()
    expect(page.locator("aside .thumb").first).to_be_visible()  # the click is in the history
    assert ids(page) != before


def test_a_service_that_stops_is_named_and_the_page_goes_on_once_it_is_back(
    open_page: Open, up: Up
) -> None:
    page = open_page("user=patient")
    before = ids(page)

    with hung(up, "ranking"):
        expect(page.locator("#notice")).to_contain_text("Ranking does not answer")
        cards(page).first.locator(".picture").click()
        expect(page.locator(".trouble")).to_contain_text("the next try follows by itself")
        assert ids(page) == before  # what was shown stays
        screenshot(page, SCREENSHOTS / "a-service-stopped.png")

    expect(page.locator("#notice")).to_be_hidden(timeout=2 * WITHIN_MS)
    expect(page.locator(".trouble")).to_be_empty(timeout=2 * WITHIN_MS)


def test_a_gateway_that_hangs_is_named_and_the_page_goes_on(open_page: Open, up: Up) -> None:
    page = open_page("view=operations")
    expect(page.locator(".plots .plot").first).to_be_visible()

    with hung(up, "gateway"):
        expect(page.locator("#notice")).to_contain_text("The gateway does not answer")

    expect(page.locator("#notice")).to_be_hidden(timeout=BACK_WITHIN_MS)


def test_a_gateway_that_crashed_is_named_and_the_page_hears_it_once_it_is_back(
    open_page: Open, up: Up
) -> None:
    page = open_page("user=patient-clicker-too")
    before = ids(page)
    assert up.running is not None

    os.kill(up.running.processes["gateway"], signal.SIGKILL)  # `freshet up` starts it again
    expect(page.locator("#notice")).to_contain_text("The gateway does not answer")
    cards(page).first.locator(".picture").click()
    expect(page.locator(".unsent")).to_contain_text("is kept, sent again until it arrives")
    screenshot(page, SCREENSHOTS / "the-gateway-stopped.png")

    expect(page.locator("#notice")).to_be_hidden(timeout=BACK_WITHIN_MS)
    expect(page.locator(".took")).to_contain_text("after the click", timeout=BACK_WITHIN_MS)
    expect(page.locator("#live")).to_contain_text("events/s")
    assert ids(page) != before
