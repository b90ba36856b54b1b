"""Who may call: with which key, for what, how often, and from which pages."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.access.public_keys import read_public_keys, sign
from shared.access.tokens import Scope, line_of
from tests.servers import eventually
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import RankingDouble
from tests.unit.gateway.kit import (
    KEYS,
    PUBLIC_KEY,
    SECRET,
    SHOP_PAGE,
    GatewayKit,
    Got,
    running,
    token_of,
    write_keys,
    write_public_keys,
)

CLICK = {"user_id": "ada", "item_id": "mug-1", "type": "click"}
EVIL_PAGE = "https://evil.example"
FORGET = {"user_id": "ada", "type": "forget"}

# Method, path, body, and the scope that it takes.
CALLS = [
    ("POST", "/v1/events", CLICK, Scope.PUBLISH),
    ("PUT", "/v1/items/a", {}, Scope.PUBLISH),
    ("DELETE", "/v1/items/a", None, Scope.PUBLISH),
    ("PATCH", "/v1/offers/a", {}, Scope.PUBLISH),
    ("DELETE", "/v1/offers/a", None, Scope.PUBLISH),
    ("PUT", "/v1/users/ada", {}, Scope.PUBLISH),
    ("GET", "/v1/recommendations?user_id=ada", None, Scope.READ),
    ("POST", "/v1/recommendations", {"user_id": "ada"}, Scope.READ),
    ("GET", "/v1/similar?item_id=mug", None, Scope.READ),
    ("POST", "/v1/search", {"text": "mug"}, Scope.READ),
    ("GET", "/v1/events/3:17", None, Scope.READ),
    ("GET", "/v1/explain?user_id=ada&item_id=mug", None, Scope.PEOPLE),
    ("GET", "/v1/users/ada", None, Scope.PEOPLE),
    ("DELETE", "/v1/users/ada", None, Scope.PEOPLE),
]


@pytest.fixture
async def guarded(
    ranking: RankingDouble, kafka: KafkaDouble, tmp_path: Path
) -> AsyncIterator[GatewayKit]:
    door = {"tokens_file": str(write_keys(tmp_path))}
    async with running(
        ranking.address,
        door=door,
        public_keys=write_public_keys(tmp_path),
        origins=("https://app.example",),
    ) as kit:
        yield kit


@pytest.mark.parametrize(("method", "path", "body", "scope"), CALLS)
@pytest.mark.parametrize("key", ["", "nobody", *KEYS])
async def test_a_call_takes_a_key_of_its_scope(
    guarded: GatewayKit, key: str, method: str, path: str, body: Any, scope: Scope
) -> None:
    got = await guarded(method, path, key=key, json=body)

    if key not in KEYS:
        assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer")
    elif scope in KEYS[key]:
        assert got.status in (200, 202)
    else:
        assert got.status == 403
        assert f"needs a bearer token of scope {scope}" in got.body["detail"]
    assert key == "" or token_of(key) not in str(got.body)


async def test_mixing_users_and_forgetting_them_takes_the_scope_of_people(
    guarded: GatewayKit, kafka: KafkaDouble
) -> None:
    mixed = {"user_id": "ada", "also_user_ids": ["bo"]}

    assert (await guarded("POST", "/v1/recommendations", key="shop", json=mixed)).status == 403
    assert (await guarded("POST", "/v1/recommendations", key="care", json=mixed)).status == 200
    assert (await guarded("POST", "/v1/events", key="shop", json=FORGET)).status == 403
    assert kafka.sent == []
    assert (await guarded("POST", "/v1/events", key="care", json=FORGET)).status == 202


async def test_a_key_is_exchanged_without_a_restart_and_two_are_valid_meanwhile(
    guarded: GatewayKit, tmp_path: Path
) -> None:
    async def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return (await guarded("GET", "/v1/search?text=mug", headers=headers)).status

    old, new = token_of("shop"), "freshet_next"
    both = [line_of("shop", [Scope.READ], token) for token in (old, new)]
    replace(tmp_path / "tokens", "\n".join(both))
    assert [await status(old), await status(new)] == [200, 200]

    replace(tmp_path / "tokens", both[1])
    assert [await status(old), await status(new)] == [401, 200]


def replace(file: Path, text: str) -> None:
    part = file.with_name("part")
    part.write_text(text)
    os.replace(part, file)


async def test_one_key_calls_only_so_often_and_others_go_on(
    ranking: RankingDouble, kafka: KafkaDouble, tmp_path: Path
) -> None:
    door = {"tokens_file": str(write_keys(tmp_path)), "caller_calls_per_s": 2.0}
    async with running(ranking.address, door=door) as gateway:
        calls = [await gateway("GET", "/v1/search?text=a", key="shop") for _ in range(4)]
        other = await gateway("GET", "/v1/search?text=a", key="reader")
        guesses = [await gateway("GET", "/v1/search?text=a", key=f"guess{n}") for n in range(4)]

    assert [got.status for got in calls].count(429) >= 1
    refused = next(got for got in calls if got.status == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert 0 < refused.body["retry_after_ms"] <= 1000
    assert other.status == 200
    assert {got.status for got in guesses} == {401, 429}, "nobody guesses faster than that"


async def test_more_calls_than_there_is_room_for_are_pushed_back(
    ranking: RankingDouble, kafka: KafkaDouble
) -> None:
    kafka.holding = True
    async with running(ranking.address, in_flight_at_most=1) as gateway:
        waiting = asyncio.create_task(gateway("POST", "/v1/events", json=CLICK))
        await eventually(lambda: kafka.held)
        refused = await gateway("POST", "/v1/events", json=CLICK)
        kafka.release()

        assert (await waiting).status == 202
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")


def by_page(
    user_id: str = "ada", *, origin: str | None = SHOP_PAGE, key: str = PUBLIC_KEY
) -> dict[str, Any]:
    """Return how a page publishes for a user whose id the shop signed."""
    headers = {"content-type": "text/plain"} | ({"origin": origin} if origin else {})
    return {"params": {"key": key, "signature": sign(user_id, SECRET)}, "headers": headers}


async def publish(gateway: GatewayKit, event: Any, **how: Any) -> Got:
    return await gateway("POST", "/v1/events", data=json.dumps(event), **how)


async def test_a_page_publishes_for_the_user_whose_id_is_signed(
    guarded: GatewayKit, kafka: KafkaDouble
) -> None:
    got = await publish(guarded, [CLICK, CLICK], **by_page())

    assert (got.status, len(kafka.sent)) == (202, 2)
    assert got.headers["access-control-allow-origin"] == SHOP_PAGE


@pytest.mark.parametrize(
    ("event", "how", "status", "field"),
    [
        ({**CLICK, "user_id": "bo"}, by_page("ada"), 403, "signature"),
        ([CLICK, {**CLICK, "user_id": "bo"}], by_page("ada"), 403, "signature"),
        (CLICK, by_page() | {"params": {"key": PUBLIC_KEY}}, 403, "signature"),
        (CLICK, by_page() | {"params": {"key": PUBLIC_KEY, "signature": "ü"}}, 403, "signature"),
        (CLICK, by_page(origin=EVIL_PAGE), 403, "origin"),
        (CLICK, by_page(origin=None), 403, "origin"),
        (CLICK, by_page(key="page_of_nobody_00000"), 401, "key"),
        ({"user_id": "ada", "type": "Forget "}, by_page(), 403, "type"),
    ],
)
async def test_a_page_publishes_nothing_else(
    guarded: GatewayKit,
    kafka: KafkaDouble,
    event: Any,
    how: dict[str, Any],
    status: int,
    field: str,
) -> None:
    got = await publish(guarded, event, **how)

    assert (got.status, got.body["field"]) == (status, field)
    assert kafka.sent == []
    assert SECRET not in str(got.body)
    assert sign("bo", SECRET) not in str(got.body)


@pytest.mark.parametrize(("method", "path", "body", "scope"), CALLS[1:])
async def test_a_public_key_is_good_for_events_alone(
    guarded: GatewayKit, method: str, path: str, body: Any, scope: Scope
) -> None:
    query = "&" if "?" in path else "?"
    headers = {"origin": SHOP_PAGE}

    got = await guarded(method, f"{path}{query}key={PUBLIC_KEY}", json=body, headers=headers)

    assert got.status == 401


async def test_one_address_publishes_only_so_often_with_a_public_key(
    ranking: RankingDouble, kafka: KafkaDouble, tmp_path: Path
) -> None:
    keys = write_public_keys(tmp_path)
    async with running(ranking.address, public_keys=keys, public_calls_per_s=1.0) as gateway:
        statuses = [(await publish(gateway, CLICK, **by_page())).status for _ in range(3)]

    assert statuses[0] == 202
    assert 429 in statuses


async def test_pages_that_are_let_in_may_read_and_others_may_not_even_send(
    guarded: GatewayKit, kafka: KafkaDouble
) -> None:
    async def search(origin: str) -> Got:
        return await guarded("GET", "/v1/search?text=a", key="shop", headers={"origin": origin})

    own = f"http://127.0.0.1:{guarded.port}"
    allowed, other, same = (
        await search("https://app.example"),
        await search(EVIL_PAGE),
        await search(own),
    )

    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    policies = [got.headers["cross-origin-resource-policy"] for got in (allowed, other, same)]
    assert policies == ["cross-origin", "same-origin", "same-origin"]  # of beacons' answers
    assert "Server-Timing" in allowed.headers["access-control-expose-headers"]
    assert (other.status, other.body["field"]) == (403, "origin")
    assert "access-control-allow-origin" not in other.headers
    assert same.status == 200


async def test_a_browser_is_told_beforehand_which_pages_may_call(guarded: GatewayKit) -> None:
    async def ask(origin: str) -> Got:
        headers = {
            "origin": origin,
            "access-control-request-method": "PUT",
            "access-control-request-headers": "authorization,content-type",
        }
        return await guarded("OPTIONS", "/v1/items/a", headers=headers)

    allowed, other = await ask("https://app.example"), await ask(EVIL_PAGE)

    assert allowed.status == 200
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    assert other.status == 400
    assert "access-control-allow-origin" not in other.headers


async def test_where_everybody_is_let_in_other_peoples_pages_are_not(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    by_post = await publish(
        gateway, CLICK, headers={"content-type": "text/plain", "origin": EVIL_PAGE}
    )
    by_name = await publish(  # of a host whose name was made to lead here
        gateway,
        CLICK,
        headers={"content-type": "text/plain", "origin": EVIL_PAGE, "host": "evil.example"},
    )

    assert (by_post.status, by_post.body["field"]) == (403, "origin")
    assert (by_name.status, by_name.body["field"]) == (403, "host")
    assert kafka.sent == []


@pytest.mark.parametrize(
    "line",
    [
        f"page {SHOP_PAGE} {PUBLIC_KEY}",
        f"page shop.example {PUBLIC_KEY} {SECRET}",
        f"page {SHOP_PAGE}/cart {PUBLIC_KEY} {SECRET}",
        f"page {SHOP_PAGE} short {SECRET}",
        f"p ge! {SHOP_PAGE} {PUBLIC_KEY} {SECRET}",
    ],
)
def test_a_line_that_is_no_public_key_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "public").write_text(f"# pages\n{line}\n")

    with pytest.raises(ValueError, match="line 2 must be NAME ORIGIN KEY SECRET") as error:
        read_public_keys(tmp_path / "public")

    assert SECRET not in str(error.value)


def test_two_public_keys_of_a_name_are_valid_at_once_and_no_more(tmp_path: Path) -> None:
    lines = [f"page {SHOP_PAGE} {PUBLIC_KEY}{n} {SECRET}" for n in range(3)]
    (tmp_path / "public").write_text("\n".join(lines[:2]))
    assert len(read_public_keys(tmp_path / "public")) == 2

    (tmp_path / "public").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="page has 3 keys, at most 2"):
        read_public_keys(tmp_path / "public")
