"""Items and offers: every bound in both encodings, and nothing but BadRecord."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.bounds import EARLIEST_MS, IMAGE_BYTES, LATEST_MS
from freshet.contract.items import Item, check_item, decode_item, encode_item
from freshet.contract.offers import OFFER_BYTES, Offer, check_offer, decode_offer, encode_offer
from freshet.contract.records import (
    JSON,
    OUT_OF_BOUNDS,
    PROTOBUF,
    TOO_LARGE,
    UNDECODABLE,
    BadRecord,
)
from freshet.contract.topics import MESSAGE_MAX_BYTES
from freshet.v1 import item_pb2, offer_pb2
from tests.contract.strategies import items, json_values, offers

NOON_MS = 1_788_264_000_000
ENCODINGS = pytest.mark.parametrize("encoding", [JSON, PROTOBUF])


def attribute(value: Any) -> item_pb2.Attribute:
    kind = {bool: "flag", str: "text", float: "number"}[type(value)]
    return item_pb2.Attribute(**{kind: value})


def encoded_item(encoding: str, fields: dict[str, Any]) -> bytes:
    """Encode fields as an app would that does not know the bounds."""
    if encoding == JSON:
        return json.dumps(
            {
                name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                for name, value in fields.items()
            }
        ).encode()
    attributes = {name: attribute(value) for name, value in fields.get("attributes", {}).items()}
    return item_pb2.Item(**fields | {"attributes": attributes}).SerializeToString()


def encoded_offer(encoding: str, fields: dict[str, Any]) -> bytes:
    if encoding == JSON:
        return json.dumps(fields).encode()
    return offer_pb2.Offer(**fields).SerializeToString()


OFFER_BAD: list[tuple[dict[str, Any], str]] = [
    ({"item_id": ""}, "item_id must be 1-128 bytes"),
    ({"item_id": "a\tb"}, "item_id must be 1-128 bytes of UTF-8 without control characters"),
    ({"price": -0.01}, "price must be 0 or more, was -0.01"),
    ({"currency": "eur"}, "currency must be three letters A-Z (ISO 4217), was 'eur'"),
    ({"currency": "EURO"}, "currency must be three letters"),
    ({"currency": "EUR\n"}, "currency must be three letters"),
    ({"available_from_ms": 1}, "available_from_ms must be milliseconds since 1970, of 2000 to"),
    ({"available_until_ms": 0}, "available_until_ms must be milliseconds since 1970"),
    ({"updated_ms": -(2**63)}, "updated_ms must be milliseconds since 1970"),
    ({"updated_ms": 1_800_000_000}, "was 1800000000, which is 1970-01-21T20:00:00Z; if these are"),
    (
        {"available_from_ms": NOON_MS, "available_until_ms": NOON_MS - 1},
        f"available_until_ms must be at or after available_from_ms, {NOON_MS}, was {NOON_MS - 1}",
    ),
]
ITEM_BAD: list[tuple[dict[str, Any], str]] = [
    ({"title": "t" * 513}, "title must be at most 512 bytes, was 513"),
    ({"title": "é" * 257}, "title must be at most 512 bytes, was 514"),
    ({"description": "d" * 16_385}, "description must be at most 16384 bytes, was 16385"),
    ({"categories": [f"c{n}" for n in range(33)]}, "categories must be at most 32, was 33"),
    ({"categories": ["a", ""]}, "an entry of categories must be 1-128 bytes"),
    ({"tags": [f"t{n}" for n in range(65)]}, "tags must be at most 64, was 65"),
    ({"tags": ["t" * 129]}, "an entry of tags must be 1-128 bytes"),
    ({"attributes": {f"a{n}": True for n in range(65)}}, "attributes must be at most 64, was 65"),
    ({"attributes": {"": True}}, "a name in attributes must be 1-128 bytes"),
    ({"attributes": {"a": "x" * 1025}}, "attributes.a must be at most 1024 bytes"),
    ({"image_bytes": b"x" * (IMAGE_BYTES + 1)}, "image_bytes must be at most 4194304 bytes"),
    ({"image_uri": ""}, "image_uri must be 1-2048 bytes"),
    ({"image_uri": "https://e.org/" + "x" * 2048}, "image_uri must be 1-2048 bytes"),
]


@ENCODINGS
@pytest.mark.parametrize(("changes", "words"), OFFER_BAD)
def test_an_offer_out_of_bounds_is_refused_by_name_and_bound(
    encoding: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_offer(encoded_offer(encoding, {"item_id": "lamp"} | changes), encoding)
    assert words in str(caught.value)
    assert caught.value.error_class == OUT_OF_BOUNDS


@ENCODINGS
@pytest.mark.parametrize(("changes", "words"), OFFER_BAD + ITEM_BAD)
def test_an_item_out_of_bounds_is_refused_by_name_and_bound(
    encoding: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_item(encoded_item(encoding, {"item_id": "lamp"} | changes), encoding)
    assert words in str(caught.value)
    assert caught.value.error_class == OUT_OF_BOUNDS


@ENCODINGS
@pytest.mark.parametrize(
    "changes",
    [
        {"title": "é" * 256, "description": "d" * 16_384},
        {"categories": ["c" * 128] * 32, "tags": ["é" * 64] * 64},
        {"attributes": {f"a{n}": "x" * 1024 for n in range(64)}},
        {"attributes": {"number": 5.0, "text": "5", "flag": True}},
        {"price": 0.0, "currency": "JPY", "in_stock": False},
        {"available_from_ms": NOON_MS, "available_until_ms": NOON_MS, "updated_ms": LATEST_MS},
        {"available_from_ms": 0, "available_until_ms": EARLIEST_MS, "updated_ms": EARLIEST_MS},
        {"image_uri": "s3://pictures/" + "x" * 2034},
    ],
)
def test_values_at_their_bounds_are_taken(encoding: str, changes: dict[str, Any]) -> None:
    fields = {"item_id": "lamp"} | changes
    item = decode_item(encoded_item(encoding, fields), encoding)
    as_lists = {name: getattr(item, name) for name in fields}
    as_lists |= {n: list(v) for n, v in as_lists.items() if isinstance(v, tuple)}
    assert as_lists == fields


@ENCODINGS
def test_a_picture_of_4_mib_fits_a_record_in_either_encoding(encoding: str) -> None:
    picture = bytes(IMAGE_BYTES)
    value = encoded_item(encoding, {"item_id": "lamp", "image_bytes": picture})
    assert len(value) < MESSAGE_MAX_BYTES
    assert decode_item(value, encoding).image_bytes == picture


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_in_both_encodings(number: float) -> None:
    cases: dict[str, dict[str, Any]] = {
        "price": {"price": number},
        "attributes.watts": {"attributes": {"watts": number}},
    }
    for name, changes in cases.items():
        fields = {"item_id": "lamp"} | changes
        with pytest.raises(BadRecord, match=f"{name} must be a finite number"):
            decode_item(encoded_item(PROTOBUF, fields), PROTOBUF)
        with pytest.raises(BadRecord, match="not an item in application/json"):
            decode_item(encoded_item(JSON, fields), JSON)


def test_two_pictures_in_json_are_refused() -> None:
    raw = b'{"item_id":"lamp","image_bytes":"AAAA","image_uri":"https://e.org/a.png"}'
    with pytest.raises(BadRecord, match="image must be image_bytes or image_uri, was both"):
        decode_item(raw, JSON)


@pytest.mark.parametrize("raw", [b"[]", b"\x0a", b'{"item_id":"a",}'])
def test_json_that_is_no_item_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRecord, match="^not an item in application/json: ") as caught:
        decode_item(raw, JSON)
    assert caught.value.error_class == UNDECODABLE


def test_records_beyond_their_size_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(BadRecord, match="an item must be at most 8388608 bytes") as caught:
        decode_item(b"[" * (MESSAGE_MAX_BYTES + 1), JSON)
    assert caught.value.error_class == TOO_LARGE
    with pytest.raises(BadRecord, match="an offer must be at most 65536 bytes"):
        decode_offer(b"[" * (OFFER_BYTES + 1), JSON)


def test_an_attribute_of_a_kind_from_the_future_is_passed_over() -> None:
    message = item_pb2.Item(item_id="lamp", attributes={"known": attribute(True)})
    message.attributes["unknown"].ParseFromString(b"\x22\x03sky")  # field 4 of Attribute
    assert decode_item(message.SerializeToString(), PROTOBUF).attributes == {"known": True}


@given(items)
def test_every_good_item_survives_both_encodings(item: Item) -> None:
    for encoding in (JSON, PROTOBUF):
        assert decode_item(encode_item(item, encoding), encoding) == item


@given(offers)
def test_every_good_offer_survives_both_encodings(offer: Offer) -> None:
    for encoding in (JSON, PROTOBUF):
        assert decode_offer(encode_offer(offer, encoding), encoding) == offer


def good_or_refused(value: bytes, encoding: str) -> None:
    for decode, check in ((decode_item, check_item), (decode_offer, check_offer)):
        try:
            decoded: Any = decode(value, encoding)
        except BadRecord as error:
            assert len(str(error)) < 400  # noqa: PT017 - any other exception fails the test
        else:
            check(decoded)


@given(st.binary(max_size=300), st.sampled_from([JSON, PROTOBUF]))
def test_any_bytes_are_good_or_refused(value: bytes, encoding: str) -> None:
    good_or_refused(value, encoding)


@given(items, st.sampled_from([JSON, PROTOBUF]), st.data())
def test_a_damaged_item_is_good_or_refused(item: Item, encoding: str, data: st.DataObject) -> None:
    value = bytearray(encode_item(item, encoding))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    good_or_refused(bytes(value), encoding)


@given(st.dictionaries(st.sampled_from(Item.__struct_fields__), json_values))
def test_json_of_the_wrong_shape_is_good_or_refused(fields: dict[str, Any]) -> None:
    good_or_refused(json.dumps({"item_id": "lamp"} | fields).encode(), JSON)
