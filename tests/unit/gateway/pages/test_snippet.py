"""What the tracking snippet sends is what a visitor saw and did, as events of the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from py_mini_racer import MiniRacer

from freshet.contract.events import Event, decode_event
from freshet.contract.records import JSON
from services.gateway.pages import pages

BROWSER = (Path(__file__).parent / "browser.js").read_text()
SNIPPET = (pages.OWN / "freshet.js").read_text()
SHOWN = """
const shown = element({
  freshetItem: 'mug-2', freshetView: '', freshetRequest: 'r-7', freshetPosition: '0',
})
const other = element({ freshetItem: 'pot-1' })
"""


class Page:
    """A page with the snippet, in an engine of its own."""

    def __init__(self, before: str = "", **dataset: str) -> None:
        self._engine = MiniRacer()
        self._engine.eval(BROWSER)
        self.runs(f"document.currentScript.dataset = {json.dumps(dataset)};{SHOWN}{before}")
        self.runs(SNIPPET)

    def runs(self, script: str) -> None:
        self._engine.eval(script + "\n;0")

    def sent(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Return where and what has been sent by now, when its timer has ticked."""
        self.runs("ticks.forEach(tick => tick())")
        sent: list[tuple[str, list[dict[str, Any]]]] = json.loads(
            str(self._engine.eval("JSON.stringify(sent)"))
        )
        return sent

    def events(self) -> list[Event]:
        return [
            decode_event(json.dumps(event).encode(), JSON)
            for _, events in self.sent()
            for event in events
        ]


@pytest.fixture
def page() -> Page:
    return Page(user="ada", item="mug-1")


def done(page: Page) -> list[tuple[str, str]]:
    return [(event.type, event.item_id) for event in page.events()]


def test_a_page_about_an_item_is_a_view_of_it(page: Page) -> None:
    assert done(page) == [("view", "mug-1")]


def test_what_comes_into_sight_is_viewed_once_with_its_list_and_place(page: Page) -> None:
    page.runs("see(shown, false); see(shown); see(shown)")

    (event,) = page.events()[1:]
    assert (event.type, event.item_id) == ("view", "mug-2")
    assert (event.request_id, event.position) == ("r-7", 0)


def test_what_a_page_merely_lists_is_no_view_of_it(page: Page) -> None:
    page.runs("see(other)")

    assert done(page) == [("view", "mug-1")]


def test_a_click_is_sent_at_once_and_beside_an_item_nothing_is(page: Page) -> None:
    page.runs("listeners.click({ target: other }); listeners.click({ target: element({}) })")

    (_, events), *rest = page.sent()
    assert [(event["type"], event["item_id"]) for event in events] == [
        ("view", "mug-1"),
        ("click", "pot-1"),
    ]
    assert rest == []


def test_whoever_leaves_has_looked_for_so_many_seconds(page: Page) -> None:
    page.runs("clock += 2500; leave(); document.hidden = false; listeners.visibilitychange()")
    page.runs("clock += 1000; leave()")

    looked = [event for event in page.events() if event.type == "dwell"]
    assert [(event.item_id, event.value) for event in looked] == [("mug-1", 2.5), ("mug-1", 1.0)]


def test_events_of_a_visit_are_known_by_it_and_each_by_itself(page: Page) -> None:
    page.runs("listeners.click({ target: shown }); listeners.click({ target: shown })")

    events = page.events()
    assert len({event.session_id for event in events}) == 1
    assert len({event.event_id for event in events}) == len(events) == 3
    assert {event.user_id for event in events} == {"ada"}
    assert {event.time_ms for event in events} == {1_700_000_000_000}


def test_without_the_tabs_storage_a_visit_is_a_page() -> None:
    denied = "Object.defineProperty(globalThis, 'sessionStorage', { get() { throw new Error() } })"

    assert done(Page(denied, user="ada", item="mug-1")) == [("view", "mug-1")]


def test_key_and_signature_stand_in_the_address() -> None:
    (to, _), *_ = Page(user="ada", item="a", key="page_1", signature="5e").sent()

    assert to == "https://freshet.example/v1/events?key=page_1&signature=5e"


def test_of_nobody_nothing_is_sent() -> None:
    page = Page(item="mug-1")
    page.runs("listeners.click({ target: shown }); leave()")

    assert page.sent() == []


def test_the_pages_own_code_sends_what_it_wants(page: Page) -> None:
    page.runs("freshet.track('cart', 'mug-1', { value: 2 })")

    assert (page.events()[-1].type, page.events()[-1].value) == ("cart", 2)
