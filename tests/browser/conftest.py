"""The page as people see it: a whole system with a shop in it, and Debian's Chromium before it.

Playwright's own event loop runs in this thread once a browser is there: what needs asyncio comes
before. Each test leaves a screenshot in .screenshots.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from freshet.contract.items import Item
from freshet.publisher import Publisher
from services.cli.demo import shoppers
from shared.clock import now_ms
from tests import servers
from tests.e2e.conftest import publish
from tests.e2e.shop import stock
from tests.e2e.system import Up

SCREENSHOTS = servers.ROOT / ".screenshots"
PER_STYLE = 4
SHOPPERS = {f"shopper-{number}" for number in range(60)}
DESKTOP = {"width": 1360, "height": 900}
WITHIN_MS = 20_000  # of a machine that is busy with other tests

expect.set_options(timeout=WITHIN_MS)

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Debian's Chromium. Absent: a failure on CI, a skip elsewhere."""
    path = shutil.which("chromium")
    if path is None:
        message = "chromium is not installed"
        if servers.ON_CI:
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Up]:
    """Run the whole system."""
    with Up(tmp_path_factory.mktemp("console")) as system:
        system.start()
        yield system


@pytest.fixture(scope="session")
def shop(up: Up) -> list[Item]:
    """Fill the system with a shop and what its shoppers did."""
    sold = stock(PER_STYLE)
    asyncio.run(_fill(up, sold))
    return sold


async def _fill(up: Up, sold: list[Item]) -> None:
    await publish(up, sold)
    async with Publisher(up.kafka, linger_ms=20) as publisher:
        past = shoppers.events(sold, now_ms())
        await publisher.many([event for event in past if event.user_id in SHOPPERS])


@pytest.fixture(scope="session")
def browser(shop: list[Item], chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"]  # tests run as root in containers
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(up: Up, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return what opens the page; a fault of its scripts or against its CSP fails the test."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_at(
        query: str = "", *, at: str = "", dark: bool = False, width: int = DESKTOP["width"]
    ) -> Page:
        assert up.running is not None
        context = browser.new_context(
            base_url=f"http://{at or up.running.addresses.gateway}",
            viewport={"width": width, "height": DESKTOP["height"]},
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: (
                faults.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.goto(f"/console?{query}")
        pages.append(page)
        return page

    yield open_at
    name = re.sub(r"\W+", "-", request.node.name).strip("-").removeprefix("test_")
    SCREENSHOTS.mkdir(exist_ok=True)
    for number, page in enumerate(pages):
        screenshot(page, SCREENSHOTS / f"{name}{f'-{number}' if number else ''}.png")
        page.context.close()
    assert faults == []


def screenshot(page: Page, to: Path) -> None:
    """Leave what a page shows, once nothing moves."""
    come_to_rest(page)
    page.screenshot(path=to)


def come_to_rest(page: Page) -> None:
    """Wait until nothing moves and all pictures are there."""
    page.evaluate(
        """() => Promise.all([
            ...document.getAnimations().filter((each) => each.effect.getTiming().iterations === 1)
                .map((each) => each.finished),
            ...[...document.images].filter((each) => each.loading !== "lazy" && !each.complete)
                .map((each) => each.decode()),
        ].map((each) => each.catch(() => {})))"""
    )
