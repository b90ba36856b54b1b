"""docs/tutorial.md does what it says: its blocks in order, in an empty folder, and a browser."""

from __future__ import annotations

import json
import shlex
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from services.cli.up.process import free_port
from tests.browser.conftest import SCREENSHOTS, WITHIN_MS, screenshot
from tests.e2e import markdown
from tests.e2e.blocks import run_shell
from tests.e2e.system import Up
from tests.servers import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

BLOCKS = markdown.blocks((ROOT / "docs" / "tutorial.md").read_text())
LANGUAGES = ["sh"] * 6 + ["text"] + ["sh"] * 6 + ["json"] + ["sh"] * 2
INSTALL, PUBLIC_KEY, TOKEN, UP, AGAIN, IMPORT, IMPORTED, LIST, PAGE, BACKEND, SERVE, *_ = (
    each.text for each in BLOCKS
)
STATE, FORGE, FORGED, SEARCH, PICTURE = (each.text for each in BLOCKS[11:])


class Reader(NamedTuple):
    """Someone who followed the page until the shop is served: their system, folder and site."""

    up: Up
    home: Path
    shop: Path
    site: str
    type: Callable[[str], str]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Follow the page from an empty folder until the shop's own pages are served."""
    home = tmp_path_factory.mktemp("home")
    shop = home / "my-shop"
    site = f"127.0.0.1:{free_port()}"
    moved = {"127.0.0.1:8000": site, "site 8000": f"site {site.partition(':')[2]}"}

    def here(text: str) -> str:
        for usual, actual in moved.items():
            text = text.replace(usual, actual)
        return text

    def typed(text: str, folder: str = "~/my-shop") -> str:
        lines = f"HOME={shlex.quote(str(home))}; cd {folder}\n{here(text)}"
        return run_shell(lines, home, shop / ".freshet", make=["true"], python=[sys.executable])

    typed(INSTALL, "~")
    typed(PUBLIC_KEY)
    typed(TOKEN)
    variable, program, command = UP.split()
    assert [program, command] == ["freshet", "up"]
    name, _, file = variable.partition("=")
    with Up(shop / ".freshet", {name: str(shop / file)}) as up:
        moved["127.0.0.1:8080"] = up.start().addresses.gateway
        typed(AGAIN)
        imported = typed(IMPORT)
        assert IMPORTED.strip() in imported
        assert len(json.loads(typed(LIST))["items"]) == 3
        typed(PAGE)
        typed(BACKEND)
        program, *arguments = shlex.split(here(SERVE))
        assert program == "python"
        server = subprocess.Popen([sys.executable, *arguments], cwd=shop, stderr=subprocess.DEVNULL)
        try:
            _await_server(site)
            yield Reader(up, home, shop, f"http://{site}", typed)
        finally:
            server.terminate()
            server.wait(10)


def _await_server(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens at {address}"
            time.sleep(0.02)


@pytest.fixture
def visitor(browser: Browser, reader: Reader) -> Iterator[tuple[Page, list[str]]]:
    """Return a browser's page, and what its console says against the shop's."""
    faults: list[str] = []

    def note(response: Response) -> None:
        if response.status >= 400:
            faults.append(f"{response.status} {response.url}")

    context = browser.new_context(base_url=reader.site, viewport={"width": 800, "height": 600})
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda said: faults.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on("response", note)
    yield page, faults
    context.close()


def listed(page: Page, path: str) -> list[str]:
    """Return the list of a page of the shop, once it is drawn."""
    page.goto(path)
    expect(page.locator("ol li")).to_have_count(5)
    return page.locator("ol li").all_inner_texts()


def listed_after(page: Page, before: list[str]) -> list[str]:
    """Return the start page's list once it is another one; it is asked for again until then."""
    deadline = time.monotonic() + WITHIN_MS / 1000
    while (entries := listed(page, "/")) == before:
        assert time.monotonic() < deadline, entries
    return entries


def history(reader: Reader, user: str) -> list[tuple[str, str]]:
    entries = reader.up.json("state", user)["state"].get("history", [])
    return [(each["type"], each["item_id"]) for each in entries]


def test_every_block_has_its_place() -> None:
    assert [each.language for each in BLOCKS] == LANGUAGES


def test_clicks_in_the_readers_own_page_move_its_list(
    reader: Reader, visitor: tuple[Page, list[str]]
) -> None:
    page, faults = visitor
    before = listed(page, "/")

    page.goto("/bag-1.html")
    page.goto("/")
    expect(page.locator("ol li")).to_have_count(5)
    clicked = page.locator("ol li a").first
    title, item_id = clicked.inner_text(), str(clicked.get_attribute("href")).removesuffix(".html")
    clicked.click()
    expect(page.locator("h1")).to_have_text(title)

    after = listed_after(page, before)
    assert any(other in entry for entry in after for other in ("because you", "others went on"))
    SCREENSHOTS.mkdir(exist_ok=True)
    screenshot(page, SCREENSHOTS / "tutorial.png")
    done = history(reader, "grace")
    assert ("click", item_id) in done
    assert ("view", "bag-1") in done
    assert reader.type(STATE)
    assert faults == []


def test_nobody_writes_the_history_of_a_user_whose_id_was_not_signed_for_them(
    reader: Reader, visitor: tuple[Page, list[str]]
) -> None:
    page, _ = visitor
    before = history(reader, "ada")
    index = (reader.shop / "site" / "index.html").read_text()
    forged = index.replace('data-user="grace"', 'data-user="ada"')
    assert forged != index
    (reader.shop / "site" / "forged.html").write_text(forged)

    listed(page, "/forged.html")
    with page.expect_request(lambda each: "/v1/events" in each.url) as told:
        page.locator("ol li").first.click(position={"x": 1, "y": 1})
    # What answers a beacon is shown to nobody, so the same is sent once more.
    told_again = "([url, body]) => fetch(url, { method: 'POST', body }).then(each => each.status)"
    assert page.evaluate(told_again, [told.value.url, told.value.post_data]) == 403
    answered = json.loads(reader.type(FORGE))
    assert answered | {"request_id": "…"} == json.loads(FORGED)
    assert history(reader, "ada") == before == []


def test_keys_are_for_their_owners_eyes_and_are_not_served(
    reader: Reader, visitor: tuple[Page, list[str]]
) -> None:
    page, _ = visitor
    for name in ("pages.keys", "programs.keys"):
        assert stat.S_IMODE((reader.shop / name).stat().st_mode) == 0o600
        assert page.request.get(f"/{name}").status == 404


def test_search_finds_and_a_picture_is_taken_in(reader: Reader) -> None:
    found = json.loads(reader.type(SEARCH))["items"]
    assert "Down sleeping bag" in [item["title"] for item in found]

    assert reader.type(PICTURE).strip() == "202"
