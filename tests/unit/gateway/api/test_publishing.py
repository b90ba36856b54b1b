"""What comes in over HTTP is what is published, or is refused by field and bound."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from freshet.contract.bounds import IMAGE_BYTES
from freshet.contract.events import EVENT_BYTES, decode_event
from freshet.contract.items import decode_item
from freshet.contract.offers import decode_offer
from freshet.contract.records import PROTOBUF
from freshet.contract.users import decode_user
from services.gateway.api import endpoint, publishing
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import RankingDouble
from tests.unit.gateway.kit import GatewayKit, running

CLICK = {"user_id": "ada", "item_id": "mug-1", "type": "click"}
NDJSON = {"content-type": "application/x-ndjson"}


def published(kafka: KafkaDouble) -> list[Any]:
    return [decode_event(sent.value, PROTOBUF) for sent in kafka.sent]


async def test_an_event_is_published_and_answered_with_its_position(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    got = await gateway("POST", "/v1/events", json=CLICK)

    assert (got.status, got.body) == (202, {"count": 1, "positions": ["3:0"]})
    (event,) = published(kafka)
    assert (event.user_id, event.item_id, event.type) == ("ada", "mug-1", "click")
    assert "kafka;dur=" in got.headers["server-timing"]


async def test_a_list_of_events_is_answered_with_a_position_each_in_order(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    events = [CLICK, {**CLICK, "user_id": "bo"}, {**CLICK, "type": "like"}]

    got = await gateway("POST", "/v1/events", json=events)

    assert got.body == {"count": 3, "positions": ["3:0", "2:0", "3:1"]}
    assert [event.type for event in published(kafka)] == ["click", "click", "like"]


async def test_of_a_list_with_one_bad_event_nothing_is_published(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    got = await gateway("POST", "/v1/events", json=[CLICK, {**CLICK, "position": -1}])

    assert got.status == 400
    assert got.headers["content-type"] == "application/problem+json"
    assert got.body["detail"].endswith("was -1 (event 1, from 0)")
    assert (got.body["field"], got.body["bound"]) == ("position", "between 0 and 2^31-1")
    assert kafka.sent == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not an event in application/json"),
        (b"[]", "body must be 1-1000 events, was 0"),
        (b"[", "body must be JSON, was not"),
        (b'"click"', "one object is wanted"),
        (b'{"user_id": "ada", "type": "click"', "not an event in application/json"),
        (b'{"user_id": "ada", "typ": "click"}', "'typ' is no field of an event (did you mean type"),
        (b'{"user_id": "ada"}', "type must be given, was absent"),
        (b"\xff\xfe", "not an event in application/json"),
        (b"[" * 100_000, "body must be JSON, was not"),
    ],
)
async def test_what_is_no_event_is_refused_in_the_contracts_words(
    gateway: GatewayKit, kafka: KafkaDouble, body: bytes, detail: str
) -> None:
    got = await gateway(
        "POST", "/v1/events", data=body, headers={"content-type": "application/json"}
    )

    assert got.status == 400
    assert detail in got.body["detail"]
    assert kafka.sent == []


async def test_a_list_may_hold_a_thousand_events_and_no_more(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    many = [CLICK] * publishing.BATCH_AT_MOST

    assert (await gateway("POST", "/v1/events", json=many)).status == 202
    got = await gateway("POST", "/v1/events", json=[*many, CLICK])

    assert (got.status, got.body["bound"]) == (400, "1-1000 events")
    assert len(kafka.sent) == len(many)


async def test_what_send_beacon_sends_is_published(gateway: GatewayKit, kafka: KafkaDouble) -> None:
    text = {"content-type": "text/plain;charset=UTF-8"}

    got = await gateway("POST", "/v1/events", data=json.dumps([CLICK, CLICK]), headers=text)

    assert (got.status, len(published(kafka))) == (202, 2)


async def test_a_stream_of_lines_is_answered_with_the_last_position_of_each_partition(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    events = [{**CLICK, "user_id": user} for user in ("ada", "bo", "ada", "ada")]
    stream = "\n".join(map(json.dumps, events)) + "\n\n"

    got = await gateway("POST", "/v1/events", data=stream, headers=NDJSON)

    assert got.body == {"count": 4, "positions": ["3:2", "2:0"]}
    assert [event.user_id for event in published(kafka)] == ["ada", "bo", "ada", "ada"]


async def test_a_stream_is_published_however_it_is_cut(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    whole = b"\n".join(json.dumps({**CLICK, "user_id": f"u{n}"}).encode() for n in range(40))

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 7):
            yield whole[at : at + 7]

    got = await gateway("POST", "/v1/events", data=parts(), headers=NDJSON)

    assert got.body["count"] == 40
    assert [event.user_id for event in published(kafka)] == [f"u{n}" for n in range(40)]


async def test_a_bad_line_is_named_and_those_before_it_are_published(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    stream = "\n".join([json.dumps(CLICK), json.dumps(CLICK), '{"user_id": ""}'])

    got = await gateway("POST", "/v1/events", data=stream, headers=NDJSON)

    assert got.status == 400
    assert got.body["detail"].endswith("(event 2, from 0); those before it are published")
    assert len(kafka.sent) == 2


async def test_no_line_and_no_stream_is_longer_than_its_bound(
    ranking: RankingDouble, kafka: KafkaDouble
) -> None:
    async with running(ranking.address, stream_bytes=2 * EVENT_BYTES) as gateway:
        line = await gateway("POST", "/v1/events", data=b"x" * (EVENT_BYTES + 1), headers=NDJSON)
        stream = await gateway(
            "POST", "/v1/events", data=b"\n" * (2 * EVENT_BYTES + 1), headers=NDJSON
        )

    assert line.status == 400
    assert stream.status == 413
    assert stream.body["bound"] == f"at most {2 * EVENT_BYTES} bytes"


async def test_an_item_is_published_under_the_id_of_its_path(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    picture = b"\x89PNG" + bytes(100)
    body = {
        "title": "Mug",
        "price": "18",
        "currency": "EUR",
        "image_bytes": base64.b64encode(picture).decode(),
    }

    got = await gateway("PUT", "/v1/items/mugs%2F1", json=body)

    assert (got.status, got.body) == (202, {"item_id": "mugs/1"})
    (sent,) = kafka.sent
    assert sent.value is not None
    item = decode_item(sent.value, PROTOBUF)
    assert (sent.topic, item.item_id, item.price) == ("items", "mugs/1", 18.0)
    assert item.image_bytes == picture


@pytest.mark.parametrize("name", ["item_id", "itemId"])
async def test_an_id_in_the_body_is_that_of_the_path(
    gateway: GatewayKit, kafka: KafkaDouble, name: str
) -> None:
    same = await gateway("PUT", "/v1/items/7", json={name: 7, "title": "Mug"})
    other = await gateway("PUT", "/v1/items/7", json={name: "8", "title": "Mug"})

    assert same.status == 202
    assert (other.status, other.body["field"]) == (400, "item_id")
    assert len(kafka.sent) == 1


async def test_an_item_with_the_largest_picture_fits(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    def sent(size: int) -> io.BytesIO:
        picture = base64.b64encode(bytes(size)).decode()
        return io.BytesIO(json.dumps({"image_bytes": picture}).encode())

    as_json = {"content-type": "application/json"}
    fits = await gateway("PUT", "/v1/items/a", data=sent(IMAGE_BYTES), headers=as_json)
    more = await gateway("PUT", "/v1/items/a", data=sent(IMAGE_BYTES + 1), headers=as_json)

    assert fits.status == 202
    assert (more.status, more.body["bound"]) == (400, f"at most {IMAGE_BYTES} bytes")


async def test_backfill_goes_where_live_items_overtake_it(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    await gateway("PUT", "/v1/items/mug-1?backfill=true", json={"title": "Mug"})

    assert [sent.topic for sent in kafka.sent] == ["items-backfill"]


async def test_offers_users_and_deletes_are_published(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    calls = [
        await gateway("PATCH", "/v1/offers/mug-1", json={"price": 15, "currency": "EUR"}),
        await gateway("PUT", "/v1/users/ada", json={"country": "CH", "segments": ["members"]}),
        await gateway("DELETE", "/v1/items/mug-1"),
        await gateway("DELETE", "/v1/offers/mug-1"),
    ]

    assert [got.status for got in calls] == [202] * 4
    offer, user, *deletes = kafka.sent
    assert offer.value is not None
    assert decode_offer(offer.value, PROTOBUF).price == 15
    assert user.value is not None
    assert decode_user(user.value, PROTOBUF).segments == ("members",)
    assert [(sent.topic, sent.key, sent.value) for sent in deletes] == [
        ("items", b"mug-1", None),
        ("offers", b"mug-1", None),
    ]


@pytest.mark.parametrize(
    "path", ["/v1/items/", "/v1/items/" + "x" * 129, "/v1/items/%0A", "/v1/items/a%0A%0Ab"]
)
async def test_an_id_of_a_path_has_the_contracts_bounds(gateway: GatewayKit, path: str) -> None:
    for method in ("PUT", "DELETE"):
        got = await gateway(method, path, json={} if method == "PUT" else None)

        assert (got.status, got.body["field"]) == (400, "item_id")


async def test_a_body_of_another_type_or_size_is_refused(gateway: GatewayKit) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    other = await gateway("POST", "/v1/events", data=b"user_id=ada", headers=form)
    text = await gateway("PUT", "/v1/items/a", data=b"{}", headers={"content-type": "text/plain"})
    large = await gateway("PATCH", "/v1/offers/a", json={"currency": "x" * 70_000})

    assert [got.status for got in (other, text, large)] == [415, 415, 413]
    assert large.body["bound"] == "at most 65536 bytes"


async def test_a_body_that_says_no_size_is_cut_all_the_same(gateway: GatewayKit) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield bytes(1024)

    got = await gateway(
        "PATCH", "/v1/offers/a", data=parts(), headers={"content-type": "application/json"}
    )

    assert got.status == 413
    assert gateway.limits.bodies.used_bytes == 0, "others may use the room again"


async def test_kafka_away_is_503_and_kafka_late_is_504(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    kafka.errors = [KafkaConnectionError("no broker")]
    away = await gateway("POST", "/v1/events", json=CLICK)
    kafka.holding = True
    late = [
        await gateway("POST", "/v1/events?timeout_ms=20", json=body)
        for body in (CLICK, [CLICK, CLICK])
    ]

    assert (away.status, away.headers["retry-after"]) == (503, "1")
    assert [got.status for got in late] == [504, 504]
    assert all("may be published all the same" in got.body["detail"] for got in late)


async def test_a_body_that_does_not_come_ends_the_call(
    gateway: GatewayKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "ARRIVAL_AT_MOST_S", 0.05)
    reader, writer = await gateway.connect()
    head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n".encode() + b'{"user')

    status = await reader.readline()

    assert b" 408 " in status
    writer.close()
