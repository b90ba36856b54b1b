"""The page of a gateway that asks for keys: with none, a wrong one, some scopes, all scopes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from services.cli.up.process import answers, free_port
from shared.access.tokens import Scope, line_of
from tests.browser.conftest import Open
from tests.browser.test_console import cards, faults
from tests.e2e.system import READY_WITHIN_S, Up
from tests.servers import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

KEYS = {"freshet_reader": ("reader", (Scope.READ,)), "freshet_all": ("operator", tuple(Scope))}


@pytest.fixture(scope="module")
def guarded(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run another gateway of the system, which asks for keys; returns its address."""
    assert up.running is not None
    tokens = tmp_path_factory.mktemp("keys") / "tokens"
    tokens.write_text("\n".join(line_of(*KEYS[key], key) for key in KEYS))
    port = free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": up.running.addresses.kafka,
        "FRESHET_RANKING_ADDRESS": up.running.addresses.ranking,
        "FRESHET_CONSOLE": "write",
        "FRESHET_CONSOLE_HEALTH_ADDRESSES": ",".join(
            up.running.addresses.health[name] for name in ("sessions", "embedding", "ranking")
        ),
        "FRESHET_TOKENS_FILE": str(tokens),
        "FRESHET_GATEWAY_PORT": str(port),
        "FRESHET_GATEWAY_HEALTH_PORT": "0",
    }
    command = [sys.executable, "-m", "services.gateway"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not answers(process.pid, port, b"GET /console HTTP/1.0\r\n\r\n"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Open").click()


def notes(page: Page) -> Locator:
    return page.locator("#key")


def test_without_a_key_the_page_asks_and_a_wrong_one_is_said_to_be_wrong(
    open_page: Open, guarded: str
) -> None:
    page = open_page("user=ada", at=guarded)
    expect(page.get_by_role("heading", name="Which key?")).to_be_visible()
    assert faults(page) == []

    sign_in(page, "freshet_guessed")

    expect(page.get_by_role("alert")).to_have_text("This key is not known here.")
    expect(page.locator(".card")).to_have_count(0)


def test_a_key_that_reads_shows_lists_and_says_what_it_does_not_allow(
    open_page: Open, guarded: str
) -> None:
    page = open_page("user=ada", at=guarded)
    sign_in(page, "freshet_reader")

    first = cards(page).first
    expect(first.locator("img")).to_have_js_property("naturalWidth", 256)
    expect(first.locator(".acts")).to_have_count(0)
    expect(notes(page)).to_contain_text("Signed in as reader.")
    expect(notes(page)).to_contain_text("does not allow to click and add items (publish)")
    expect(page.locator("aside")).to_contain_text("scope people")
    expect(page.locator("#live")).to_contain_text("events/s")
    assert "freshet_" not in page.url
    assert page.context.cookies() == []

    page.reload()  # the tab still has it
    cards(page)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()


def test_a_key_of_all_scopes_does_everything(open_page: Open, guarded: str) -> None:
    page = open_page("user=key-holder", at=guarded)
    sign_in(page, "freshet_all")

    expect(notes(page)).to_have_text("Signed in as operator. Sign out")
    cards(page).nth(1).locator(".picture").click()
    expect(page.locator(".took")).to_contain_text("after the click")
    expect(page.locator("aside .thumb").first).to_be_visible()
