"""Every command of `freshet` against the running system."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random
from typing import Any

import pytest

from freshet import AttributeFilter, Filters, Range, kafka_clients
from freshet.contract.items import Item, encode_item
from freshet.contract.records import JSON
from freshet.contract.topics import CLICKS
from freshet.sync import Client
from services.cli.demo import catalogue
from services.cli.demo.styles import STYLES
from tests.e2e.shop import kind_named, of_kind
from tests.e2e.system import Up, jsonl
from tests.servers import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def user() -> str:
    """Return a user whom nobody has seen before."""
    return f"user-{Random().getrandbits(48):x}"


def _click(up: Up, user: str, *items: Item) -> str:
    """Click items through the command line; returns the last position token."""
    events = [{"user_id": user, "item_id": item.item_id, "type": "click"} for item in items]
    return str(up.json("events", "publish", "-", stdin=jsonl(events))["tokens"][-1])


def test_recommend_waits_for_a_token_and_explains(up: Up, shop: list[Item], user: str) -> None:
    token = _click(up, user, of_kind(shop, "lamp")[0])

    reply = up.json("recommend", user, "-k", "5", "--explain", "--after", token)

    assert len(reply["items"]) == 5
    for item in reply["items"]:
        parts = sum(part["value"] for part in item["contributions"])
        assert parts == pytest.approx(item["score"], abs=1e-4)
    assert reply["versions"]["space"]


def test_recommend_shows_titles_and_reasons_to_people(up: Up, shop: list[Item], user: str) -> None:
    clicked = of_kind(shop, "lamp")[0]
    token = _click(up, user, clicked)

    shown = up.freshet("recommend", user, "--after", token).stdout

    assert clicked.title in shown
    assert "lamp" in shown


def test_state_shows_the_history_and_forget_empties_it(up: Up, shop: list[Item], user: str) -> None:
    lamp = of_kind(shop, "lamp")[0]
    token = _click(up, user, lamp)
    before = up.json("state", user, "--after", token)

    forgotten = up.json("forget", user)["position"]
    after = up.json("state", user, "--after", forgotten)

    assert [entry["item_id"] for entry in before["state"]["history"]] == [lamp.item_id]
    assert [entry["title"] for entry in before["state"]["history"]] == [lamp.title]
    assert after["state"]["history"] == []
    assert int(after["state"]["forgotten_at_ms"]) > 0


def test_state_shows_the_id_that_was_sent_of_an_item_that_nobody_published(
    up: Up, shop: list[Item], user: str
) -> None:
    event = {"user_id": user, "item_id": "42.0", "type": "click"}
    token = up.json("events", "publish", "-", stdin=jsonl([event]))["tokens"][-1]

    (entry,) = up.json("state", user, "--after", token)["state"]["history"]

    assert (entry["item_id"], entry["title"]) == ("42.0", "")


@pytest.mark.parametrize("by", ["visual", "text", "behaviour", "blend"])
def test_similar_lists_items_like_an_item(up: Up, shop: list[Item], by: str) -> None:
    lamp = of_kind(shop, "lamp")[0].item_id

    reply = up.json("similar", lamp, "--by", by, "-k", "3")

    assert lamp not in [item["item_id"] for item in reply["items"]]
    if by != "behaviour":  # nobody may have gone on from this lamp yet
        assert len(reply["items"]) == 3


def test_search_finds_by_text(up: Up, shop: list[Item]) -> None:
    found = up.json("search", "--text", "a table lamp", "-k", "5")["items"]

    assert all(item["item_id"].startswith("lamp-") for item in found)
    assert len(found) == 5


def test_search_finds_by_picture(up: Up, shop: list[Item], tmp_path: Path) -> None:
    picture = tmp_path / "backpack.jpg"
    drawn = of_kind(shop, "backpack")[2].image_bytes
    assert drawn is not None
    picture.write_bytes(drawn)

    found = up.json("search", "--image", str(picture), "-k", "3")["items"]

    assert found[0]["item_id"].startswith("backpack-")


def test_who_publishes_an_item_is_told_that_its_picture_is_missing(up: Up) -> None:
    item = Item(item_id="unseen", title="Unseen", image_uri="https://nowhere.example/a.jpg")
    publish = ("items", "publish", "-", "--wait", "60")
    line = encode_item(item, JSON).decode()

    reason = "host nowhere.example:443 is not allowed"
    told = up.freshet(*publish, stdin=line).stdout
    assert "unseen is in effect without its picture: picture-not-fetched: " in told
    assert reason in told
    (shown,) = up.json(*publish, stdin=line)["without_picture"]
    assert shown["item_id"] == "unseen"
    assert shown["reason"].endswith(reason)


async def test_published_items_are_found_and_deleted_ones_are_not(up: Up, shop: list[Item]) -> None:
    item = catalogue.item(kind_named("backpack"), STYLES[2], 79)
    line = encode_item(item, JSON).decode() + "\n"

    def found() -> bool:
        done = up.freshet("similar", item.item_id, "--json", exit_code=None)
        return done.returncode == 0

    told = {"published": 1, "refused": [], "overtaken": [], "without_picture": []}
    assert up.json("items", "publish", "-", "--wait", "60", stdin=line) == told
    await eventually(found, what="the published backpack")

    assert up.json("items", "delete", item.item_id) == {"published": 1}
    await eventually(lambda: not found(), what="the deleted backpack's absence")


def test_offers_are_published(up: Up, shop: list[Item]) -> None:
    line = jsonl([{"item_id": of_kind(shop, "mug")[7].item_id, "price": 12.5, "currency": "EUR"}])

    assert up.json("offers", "publish", "-", stdin=line) == {"published": 1}


def test_status_shows_every_service_ready_and_caught_up(up: Up, shop: list[Item]) -> None:
    found = up.json("status")

    assert {name: page["ready"] for name, page in found["services"].items()} == {
        "sessions": True,
        "embedding": True,
        "ranking": True,
        "gateway": True,
    }
    assert found["kafka"]["cluster_id"]
    assert found["redis"]["memory_bytes"] > 0
    assert up.running is not None
    assert found["services"]["ranking"]["process"] == up.running.processes["ranking"]
    assert "ready" in up.freshet("status").stdout


def test_a_misspelt_type_is_shown_by_name(up: Up, shop: list[Item], user: str) -> None:
    lamp = of_kind(shop, "lamp")[0].item_id
    events = [{"user_id": user, "item_id": lamp, "type": kind} for kind in ("Dislike", "Dislke")]
    token = up.json("events", "publish", "-", stdin=jsonl(events))["tokens"][-1]

    kept = up.json("state", user, "--after", token)["state"]
    assert [entry["type"] for entry in kept["history"]] == ["dislike", "dislke"]
    assert kept["disliked"] == [lamp]
    assert up.json("status")["services"]["sessions"]["unknown_types"]["dislke"] == 1
    assert "dislke" in up.freshet("status").stdout


async def test_poison_is_shown_among_dead_letters_and_can_be_replayed(up: Up, user: str) -> None:
    async with kafka_clients.producer(up.kafka) as producer:
        await producer.send_and_wait(CLICKS.name, b"no event at all", key=user.encode())

    def shown() -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = up.json("dead-letters")["dead_letters"]
        return [letter for letter in letters if letter["value"] == "no event at all"]

    await eventually(lambda: len(shown()) == 1, what="the dead letter")
    assert shown()[0]["error_class"] == "undecodable"
    assert shown()[0]["origin"].startswith("clicks:")

    assert up.json("dead-letters", "--replay", "--yes")["replayed"] >= 1
    await eventually(lambda: len(shown()) == 2, what="the replay's dead letter")
    assert shown()[0]["origin"] == shown()[1]["first_origin"]


def test_a_snapshot_is_built_on_demand(up: Up, shop: list[Item]) -> None:
    made = up.json("snapshot")

    assert made["items"] >= len(shop)


def test_tables_are_imported(up: Up, tmp_path: Path, user: str) -> None:
    products = (
        "sku;name;category;price;currency;metres;bought at\n"
        "imported-1;Blue garden hose;Gärten|tools;19.9;EUR;12.5;x\n"
        "imported-2;Green garden rake;Gärten|tools;24.9;EUR;2;x\n"
    )
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(products.encode("cp1252")))
    (tmp_path / "events.jsonl").write_text(
        jsonl([{"user": user, "item": "imported-1", "event": "like"}])
    )

    counts = up.json(
        "import",
        "files",
        "--items",
        str(tmp_path / "items.csv.gz"),
        "--events",
        str(tmp_path / "events.jsonl"),
        *("--encoding", "cp1252", "--map", "bought at="),
    )

    assert (counts["items"], counts["events"]) == (2, 1)
    found = up.json("search", "--text", "garden hose", "-k", "1")["items"]
    assert found[0]["item_id"] == "imported-1"
    history = up.json("state", user)["state"]["history"]
    assert [entry["type"] for entry in history] == ["like"]
    assert up.running is not None
    long = Filters(attributes=(AttributeFilter("metres", range=Range(min=10.0)),))
    with Client(up.running.addresses.ranking) as client:
        listed = client.recommend("somebody-else", filters=long)
    assert [item.item_id for item in listed] == ["imported-1"]  # a cell's number is a number


def test_an_import_names_what_was_refused_and_counts_what_has_no_picture(
    up: Up, tmp_path: Path
) -> None:
    table = tmp_path / "items.csv"
    (tmp_path / "torn.jpg").write_bytes(b"no picture")
    table.write_text(
        "item_id,title,image_file\n"
        "torn-1,AC[/DC] live,\ntorn-2,[bold]Torn poster,torn.jpg\ntorn-3,,torn.jpg\n"
    )

    done = up.freshet("import", "files", "--items", str(table), exit_code=1)

    assert done.stdout.startswith("3 items, all but 1 in effect")
    assert f"{table}:4: torn-3: not a picture in one of JPEG" in done.stdout
    assert "1 item in effect without a picture:\n  1 × bad-picture: not a pic" in done.stdout
    assert f"{table}:4" in up.freshet("dead-letters").stdout
    assert "AC[/DC] live" in up.freshet("search", "--text", "AC DC live").stdout
    assert "[bold]Torn poster" in up.freshet("search", "--text", "torn poster").stdout
    assert "picture is missing: bad-picture" in up.freshet("similar", "torn-2").stdout


def test_what_people_see_fits_80_columns(up: Up, shop: list[Item], user: str) -> None:
    token = _click(up, user, of_kind(shop, "lamp")[0])

    for command in (("status",), ("dead-letters",), ("recommend", user, "--explain", "--trace")):
        lines = up.freshet(*command, environ={"COLUMNS": "80"}).stdout.splitlines()
        assert max(map(len, lines)) <= 80, lines
    assert of_kind(shop, "lamp")[0].title in up.freshet("state", user, "--after", token).stdout


def test_a_position_that_is_not_reached_is_told_from_a_ranking_that_does_not_answer(
    up: Up, shop: list[Item], user: str
) -> None:
    done = up.freshet("state", user, "--after", "0:999999999", exit_code=1)

    assert "position 0:999999999 is not applied yet" in done.stderr
    assert "freshet up" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("similar", "nothing-of-the-kind"), 1, "NOT_FOUND"),
        (("recommend", "u", "-k", "0"), 2, "-k"),
        (("search",), 2, "either --text or --image"),
        (("import", "files"), 2, "give --items, --users, --events or several"),
        (("recommend", "u\x07"), 1, "INVALID_ARGUMENT: user_id"),
        (("items", "publish", "none.jsonl"), 1, "none.jsonl: No such file or directory"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_mistakes_are_told_in_one_line_with_the_right_exit_code(
    up: Up, shop: list[Item], arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    done = up.freshet(*arguments, exit_code=exit_code)

    assert words in done.stderr
    assert "Traceback" not in done.stderr
