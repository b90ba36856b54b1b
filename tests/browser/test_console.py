"""What a newcomer does on the page: click, ask why, search, add an item; and what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from freshet.contract.items import Item
from services.cli.demo import catalogue
from services.cli.demo.styles import STYLES
from tests.browser.conftest import SCREENSHOTS, Open, come_to_rest, screenshot
from tests.e2e.shop import kind_named

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

VIEWS = ("lists", "lab", "search", "map", "playground", "operations")
SERIOUS = ("serious", "critical")


def cards(page: Page) -> Locator:
    """Return the cards of the list, once it is there."""
    found = page.locator(".card:not(.ghost)")
    expect(found.first).to_be_visible()
    return found


def ids(page: Page) -> list[str]:
    return [str(each.get_attribute("data-id")) for each in cards(page).all()]


def await_view(page: Page, view: str) -> None:
    """Wait until a view shows what it is for."""
    shown = {"lab": ".drop", "map": ".points", "operations": ".plots .plot"}
    if view in shown:
        expect(page.locator(shown[view]).first).to_be_visible()
    else:
        cards(page)


def picture(tmp_path: Path, kind: str = "lamp", number: int = 77) -> Path:
    """Draw a picture that the shop has not seen."""
    image = catalogue.item(kind_named(kind), STYLES[1], number).image_bytes
    assert image is not None
    (tmp_path / "picture.jpg").write_bytes(image)
    return tmp_path / "picture.jpg"


def test_a_click_on_a_picture_changes_the_list_and_says_after_how_many_ms(open_page: Open) -> None:
    page = open_page("user=clicker")
    before = ids(page)

    cards(page).nth(2).locator(".picture").click()

    expect(page.locator(".took")).to_have_text(
        re.compile(r"list changed [\d.]+ (ms|s) after the click")
    )
    assert ids(page) != before
    moved = page.locator(".move:not(:empty)")
    expect(moved).to_have_count(len(ids(page)))
    expect(page.locator("aside .thumb").first).to_be_visible()  # the click is in the history


def test_the_bar_of_an_item_sums_to_its_score(open_page: Open) -> None:
    page = open_page("user=shopper-3")

    for card in cards(page).all():
        said = str(card.locator(".why").get_attribute("aria-label"))
        parts, _, total = said.partition(": ")[2].rpartition(" = ")
        added = re.findall(r"(− )?[^+−]*?(\d+\.\d\d)", parts)
        summed = sum(-float(value) if sign else float(value) for sign, value in added)
        assert summed == pytest.approx(float(total), abs=0.005 * (len(added) + 1))
        assert card.locator(".foot b").inner_text() == total


def test_pictures_are_square_and_never_distorted(open_page: Open) -> None:
    page = open_page("user=shopper-3")
    cards(page)

    for image in page.locator(".card img").all()[:6]:
        box = image.bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(box["height"], abs=1)
        assert image.evaluate("image => getComputedStyle(image).objectFit") == "cover"
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0


def test_a_dislike_sinks_its_kind(open_page: Open) -> None:
    page = open_page("user=picky")
    cards(page).first.locator(".picture").click()
    expect(page.locator(".took")).to_contain_text("after the click")
    first = str(cards(page).first.get_attribute("data-id"))
    kind = first.split("-")[0]

    def share() -> float:
        shown = ids(page)
        return sum(each.startswith(f"{kind}-") for each in shown) / len(shown)

    before = share()
    for _ in range(3):
        disliked = page.locator(f'.card[data-id^="{kind}-"]')
        if not disliked.count():
            break
        gone = str(disliked.first.get_attribute("data-id"))
        disliked.first.locator(".acts button").nth(1).click()
        expect(page.locator(f'.card[data-id="{gone}"]')).to_have_count(0)

    assert share() < before
    expect(page.get_by_text("Dislikes", exact=True)).to_be_visible()


def test_the_page_says_why_not_an_item_that_a_filter_took_away(open_page: Open) -> None:
    page = open_page("user=why-not")
    clicked = str(cards(page).first.get_attribute("data-id"))
    cards(page).first.locator(".picture").click()
    expect(page.locator(f'.card[data-id="{clicked}"]')).to_have_count(0)

    page.locator("aside .thumbs .thumb").first.click()

    sheet = page.get_by_role("dialog")
    expect(sheet.locator(".fate")).to_have_text(
        "Filtered away: this user saw or bought it already."
    )
    expect(sheet.locator(".stages .stopped")).to_have_text("filterfell here")
    assert f"why={clicked}" in page.url  # who gets the address sees the same


def test_any_item_can_be_asked_about_by_words(open_page: Open) -> None:
    page = open_page("user=shopper-5&why=lamp-retro-1")
    sheet = page.get_by_role("dialog")
    expect(sheet.locator(".fate")).to_be_visible()

    sheet.get_by_role("searchbox").fill("a mug")
    sheet.get_by_role("button", name="Find").click()
    sheet.locator(".others .thumb").first.click()

    expect(sheet.locator(".quiet").first).to_contain_text("Mug")
    assert "why=mug-" in page.url


def test_the_way_counts_candidates_from_sources_to_the_list(open_page: Open) -> None:
    page = open_page("user=shopper-3")
    count = len(ids(page))

    way = page.locator("section", has_text="How this list was made")

    assert way.locator(".sources li").count() > 1
    expect(way.locator(".sum")).to_contain_text(f"listed {count}")
    expect(way.locator(".stage-ms")).to_contain_text("candidates")


def test_two_users_stand_side_by_side(open_page: Open) -> None:
    page = open_page("user=shopper-3")
    cards(page)

    page.get_by_label("Compare with").fill("shopper-7")
    page.get_by_label("Compare with").press("Enter")

    expect(page.locator("h1")).to_have_text(["For shopper-3", "For shopper-7"])
    expect(page.locator(".tastes").nth(1)).to_be_visible()
    assert "beside=shopper-7" in page.url


def test_a_picture_finds_its_neighbours_and_becomes_an_item_in_lists_until_it_is_deleted(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page("view=lab&user=shopper-3")

    page.get_by_label("A picture of the new item").set_input_files(picture(tmp_path))
    expect(page.locator(".done")).to_contain_text("Encoded and compared in")
    nearest = page.locator(".thumbs.large .thumb").first
    assert str(nearest.get_attribute("data-id")).startswith("lamp-")

    page.get_by_label("Title").fill("Lamp from a test")
    page.get_by_role("button", name="Add to the shop").click()
    arrival = page.locator(".arrival")
    expect(arrival).to_contain_text("Encoded and in the index after")
    expect(arrival).to_contain_text("for a visitor who looked at its neighbours")
    expect(arrival.locator(".mine").first).to_be_visible()
    screenshot(page, SCREENSHOTS / "an-item-appears.png")

    page.get_by_role("button", name="Delete it again").click()
    expect(arrival).to_contain_text("Gone from every list")


def test_search_by_words_says_what_matched(open_page: Open) -> None:
    page = open_page("view=search")

    page.get_by_label("Search by words").fill("a warm lamp")
    page.get_by_label("Search by words").press("Enter")

    assert ids(page)[0].startswith("lamp-")
    expect(cards(page).first.locator(".why")).to_have_attribute(
        "aria-label", re.compile(r"like it [\d.]+ \+ words")
    )
    assert "words=a+warm+lamp" in page.url


def test_search_by_a_picture(open_page: Open, tmp_path: Path) -> None:
    page = open_page("view=search")

    page.get_by_label("Search by a picture").set_input_files(picture(tmp_path, "armchair"))

    assert ids(page)[0].startswith("armchair-")


def test_what_is_no_picture_is_refused_in_words(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page = open_page("view=search")

    page.get_by_label("Search by a picture").set_input_files(tmp_path / "notes.txt")

    expect(page.get_by_role("alert")).to_have_text("Notes.txt is no picture.")


def test_plots_move_while_people_click(open_page: Open) -> None:
    page = open_page("view=operations")
    plot = page.locator("section", has_text="Click → in effect").locator("path").first
    before = plot.get_attribute("d")

    page.evaluate(
        "fetch('/v1/events', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({user_id: 'plotted', item_id: 'lamp-retro-1', type: 'click'})})"
    )

    expect(plot).not_to_have_attribute("d", str(before))
    expect(page.locator("#live")).to_contain_text("events/s")


def test_all_of_it_goes_by_keyboard(open_page: Open) -> None:
    page = open_page("user=typist")
    cards(page)

    page.keyboard.press("/")
    page.keyboard.type("shopper-3")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("For shopper-3")
    cards(page).first.locator(".picture").focus()
    page.keyboard.press("ArrowRight")
    second = ids(page)[1]
    page.keyboard.press("w")
    expect(page.get_by_role("dialog").locator(".fate")).to_be_visible()
    assert f"why={second}" in page.url
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator(f'.card[data-id="{second}"] .picture').focus()
    page.keyboard.press("Enter")

    expect(page.locator(".took")).to_contain_text("after the click")
    expect(page.locator(".card :focus")).to_have_count(1)


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_each_view_without_scrolling_aside(open_page: Open, view: str) -> None:
    page = open_page(f"view={view}&user=shopper-3&words=lamp", width=390)
    await_view(page, view)

    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_serious_fault(open_page: Open, view: str, dark: bool) -> None:
    page = open_page(f"view={view}&user=shopper-3&words=lamp", dark=dark)
    await_view(page, view)
    come_to_rest(page)

    assert faults(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_fault_in_why(open_page: Open, dark: bool) -> None:
    page = open_page("user=shopper-3&why=lamp-retro-1", dark=dark)
    expect(page.get_by_role("dialog").locator(".fate")).to_be_visible()
    come_to_rest(page)

    assert faults(page) == []


def faults(page: Page) -> list[str]:
    """Return what axe calls serious, each with the elements that it is about."""
    return [
        f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in SERIOUS
    ]


def test_nothing_of_what_a_shop_writes_is_read_as_html(open_page: Open, shop: list[Item]) -> None:
    page = open_page(f"user={'%3Cimg%20src=x%20onerror=alert(1)%3E'}")

    expect(page.locator("h1")).to_have_text("For <img src=x onerror=alert(1)>")
    assert page.locator("h1 img").count() == 0


def test_lists_a_and_b_stand_beside_each_other_and_are_copied_as_a_call(open_page: Open) -> None:
    page = open_page("view=playground&user=shopper-3")
    expect(page.locator(".card:not(.ghost)")).to_have_count(18)

    page.locator('[data-field="any"]').nth(1).fill("Mug")
    page.locator('[data-field="max"]').nth(1).fill("25")

    sides = page.locator(".user-list")
    expect(sides.nth(1).locator('.card:not([data-id^="mug-"])')).to_have_count(0)
    assert sides.nth(0).locator('.card:not([data-id^="mug-"])').count() > 0
    assert "b=any%3DMug%26max%3D25" in page.url
    for how, text in (
        ("grpcurl", "freshet.v1.Recommender/Recommend"),
        ("Python", 'filters=freshet.Filters(categories_any=("Mug",), price=freshet.Range(max=25))'),
        ("curl", "/v1/recommendations -H 'Content-Type: application/json'"),
    ):
        page.get_by_role("button", name=how, exact=True).nth(1).click()
        expect(page.locator(".copied").nth(1)).to_contain_text(text)
    assert "curl" in page.evaluate("navigator.clipboard.readText()")


def test_the_map_shows_the_catalogue_with_the_user_on_it(open_page: Open, shop: list[Item]) -> None:
    page = open_page("view=map&user=shopper-3")

    expect(page.locator(".points circle:not(.step)")).to_have_count(len(shop))
    expect(page.locator(".points .taste").first).to_be_visible()
    page.locator(".points circle:not(.step)").last.hover()  # drawn over all others
    expect(page.locator(".about b")).not_to_be_empty()
    page.get_by_role("button", name="by freshness").click()
    expect(page.locator(".scale")).to_be_visible()
    assert "colour=freshness" in page.url


def test_a_tour_leads_through_the_page_in_five_steps(open_page: Open) -> None:
    page = open_page("user=shopper-3")
    page.get_by_role("link", name="Tour").click()
    tour = page.get_by_role("region", name="Tour")

    for step in range(1, 6):
        expect(tour).to_contain_text(f"{step} of 5")
        assert f"tour={step}" in page.url
        tour.get_by_role("button", name="Done" if step == 5 else "Next").click()
    expect(tour).to_be_hidden()


def test_the_whole_view_is_in_the_address_and_the_browser_goes_back(open_page: Open) -> None:
    page = open_page("user=shopper-3")
    page.get_by_role("link", name="Search").click()
    page.get_by_role("button", name="to sit and read").click()
    expect(page.get_by_label("Search by words")).to_have_value("to sit and read")

    page.reload()
    expect(page.get_by_label("Search by words")).to_have_value("to sit and read")
    page.go_back()
    page.go_back()

    expect(page.locator("h1")).to_have_text("For shopper-3")
