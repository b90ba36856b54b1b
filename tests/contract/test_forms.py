"""Every form in which people write a value means the same, wherever it is written."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract import forms
from freshet.contract.events import Event, decode_event, encode_event
from freshet.contract.items import Item, decode_item, encode_item
from freshet.contract.offers import Offer, decode_offer, encode_offer
from freshet.contract.records import JSON, OUT_OF_BOUNDS, PROTOBUF, BadRecord
from freshet.contract.users import User, decode_user, encode_user
from freshet.v1 import event_pb2, item_pb2, offer_pb2, user_pb2
from tests.contract.strategies import events, items, offers, users

DECODE: dict[type, Any] = {
    Event: decode_event,
    Item: decode_item,
    Offer: decode_offer,
    User: decode_user,
}
LEAST: dict[type, dict[str, Any]] = {
    Event: {"user_id": "ana", "item_id": "lamp", "type": "click"},
    Item: {"item_id": "lamp"},
    Offer: {"item_id": "lamp"},
    User: {"user_id": "ana"},
}
NOON_MS = 1_788_264_000_000
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def from_json(kind: type, fields: dict[str, Any]) -> Any:
    return DECODE[kind](json.dumps(LEAST[kind] | fields).encode(), JSON)


def refused(kind: type, fields: dict[str, Any]) -> str:
    with pytest.raises(BadRecord) as caught:
        from_json(kind, fields)
    assert caught.value.error_class == OUT_OF_BOUNDS
    return str(caught.value)


WRITTEN: list[tuple[type, str, Any, Any]] = [
    (Event, "user_id", 42, "42"),
    (Event, "item_id", 42.0, "42"),
    (Event, "event_id", 2**63, "9223372036854775808"),
    (Event, "time_ms", str(NOON_MS), NOON_MS),
    (Event, "time_ms", float(NOON_MS), NOON_MS),
    (Event, "time_ms", "2026-09-01T12:00:00Z", NOON_MS),
    (Event, "time_ms", "2026-09-01 14:00+02:00", NOON_MS),
    (Event, "time_ms", "2026-09-01", NOON_MS - 12 * 3_600_000),
    (Event, "position", "3", 3),
    (Event, "position", 3.0, 3),
    (Event, "value", "4", 4.0),
    (Event, "value", " -4.5e0 ", -4.5),
    (
        Event,
        "context",
        {"n": 1, "x": 1.5, "y": True, "z": None},
        {"n": "1", "x": "1.5", "y": "true"},
    ),
    (Item, "title", 300, "300"),
    (Item, "tags", [1, "two", None], ("1", "two")),
    (Item, "in_stock", 1, True),
    (Item, "in_stock", 0, False),
    (Item, "in_stock", "No", False),
    (Item, "price", "39.90", 39.9),
    (Item, "attributes", {"watts": 7, "old": None}, {"watts": 7.0}),
    (Item, "attributes", {"a": {"text": "b"}, "c": {"flag": True}}, {"a": "b", "c": True}),
    (Item, "attributes", {"a": {"number": 2}}, {"a": 2.0}),
    (Item, "image_bytes", "_-8", b"\xff\xef"),  # base64 for addresses, without its padding
    (Offer, "available_until_ms", "2026-09-01T12:00Z", NOON_MS),
    (Offer, "price", "0", 0.0),
    (User, "user_id", 42, "42"),
    (User, "segments", [1, "two", None], ("1", "two")),
    (User, "attributes", {"age": 25, "old": None}, {"age": 25.0}),
    (User, "updated_ms", "2026-09-01T12:00Z", NOON_MS),
]


@pytest.mark.parametrize(("kind", "field", "written", "meant"), WRITTEN)
def test_a_value_means_the_same_in_each_form(
    kind: type, field: str, written: Any, meant: Any
) -> None:
    fields = LEAST[kind] | {field: written}
    assert getattr(from_json(kind, fields), field) == meant  # as a record on Kafka
    assert getattr(forms.read(kind, fields), field) == meant  # as a row of a file
    assert getattr(forms.tidied(kind(**fields)), field) == meant  # as Python's client has it


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("time_ms", NOON, NOON_MS),
        ("time_ms", NOON.replace(tzinfo=None), NOON_MS),
        ("time_ms", date(2026, 9, 1), NOON_MS - 12 * 3_600_000),
        ("user_id", np.int64(42), "42"),
        ("user_id", Decimal("42.00"), "42"),
        ("value", Decimal("4.5"), 4.5),
        ("value", np.float32(4.5), 4.5),
    ],
)
def test_what_python_has_beyond_json_is_read_too(field: str, written: Any, meant: Any) -> None:
    assert getattr(forms.tidied(Event(**LEAST[Event] | {field: written})), field) == meant


REFUSED: list[tuple[type, dict[str, Any], str]] = [
    (Event, {"user_id": True}, "user_id must be a text, was true"),
    (Event, {"user_id": 1.5}, "user_id must be a text, was 1.5"),
    (Event, {"user_id": 2**70}, "user_id must be a text, was an integer of 71 bits"),
    (Event, {"user_id": None}, "user_id must be given, was absent"),
    (Event, {"type": ["click"]}, "type must be a text, was a list"),
    (Event, {"time_ms": "yesterday"}, "time_ms must be milliseconds since 1970 or ISO 8601, was"),
    (Event, {"time_ms": 1.5}, "time_ms must be a whole number, was 1.5"),
    (Event, {"time_ms": "20240105"}, "was 20240105, which is 1970-01-01T05:37:20Z"),
    (Event, {"position": True}, "position must be a whole number, was true"),
    (Event, {"value": "nan"}, "value must be a number, was 'nan'"),
    (Event, {"value": True}, "value must be a number, was true"),
    (Event, {"context": ["a"]}, 'context must be an object, such as {"name": "value"}, was a list'),
    (Event, {"context": {"k": ["a"]}}, "context.k must be a text, was a list"),
    (Event, {"itemId": "mug"}, "item_id must be given once, was given as item_id and as itemId"),
    (Item, {"tags": "a|b"}, 'tags must be a list, such as ["a", "b"], was \'a|b\''),
    (Item, {"tags": [["a"]]}, "an entry of tags must be a text, was a list"),
    (Item, {"in_stock": 2}, "in_stock must be true or false, was 2"),
    (Item, {"in_stock": "perhaps"}, "in_stock must be true or false, was 'perhaps'"),
    (Item, {"image_bytes": "@"}, "image_bytes must be base64, was '@'"),
    (
        Item,
        {"attributes": {"colours": ["red", "blue"]}},
        "attributes.colours must be one text, number or flag (several values go under tags or"
        " segments), was a list",
    ),
    (Item, {"attributes": {"a": {"b": 1}}}, "attributes.a must be a text, a number, true or false"),
]


@pytest.mark.parametrize(("kind", "fields", "words"), REFUSED)
def test_what_no_form_allows_is_refused_with_what_would_be_right(
    kind: type, fields: dict[str, Any], words: str
) -> None:
    assert words in refused(kind, fields)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (
            Item,
            {"curency": "EUR"},
            "'curency' is no field of an item (did you mean currency?); "
            "further data goes under attributes",
        ),
        (Item, {"titel": "Lamp"}, "'titel' is no field of an item (did you mean title?)"),
        (Event, {"itemid": "mug"}, "'itemid' is no field of an event (did you mean item_id?)"),
        (Event, {"colour": {"of": ["sky"]}}, "(its fields are user_id, item_id, type, time_ms"),
        (Event, {"colour": 1}, "; further data goes under context"),
        (Offer, {"pric": 5}, "'pric' is no field of an offer (did you mean price?)"),
        (
            User,
            {"countri": "DE"},
            "'countri' is no field of a user (did you mean country?); "
            "further data goes under attributes",
        ),
    ],
)
def test_a_name_that_is_no_fields_is_refused_with_the_nearest_one(
    kind: type, fields: dict[str, Any], words: str
) -> None:
    assert words in refused(kind, fields)


def test_nothing_further_has_a_place_in_an_offer() -> None:
    assert "further" not in refused(Offer, {"pric": 5})


@pytest.mark.parametrize("kind", [Event, Item, Offer, User])
def test_null_is_as_absent_in_every_field(kind: Any) -> None:
    nulls = {name: None for name in kind.__struct_fields__ if name not in LEAST[kind]}
    assert from_json(kind, nulls) == kind(**LEAST[kind])
    assert forms.tidied(kind(**LEAST[kind] | nulls)) == kind(**LEAST[kind])


@given(events | items | offers | users)
def test_protobufs_own_json_is_read(message: Event | Item | Offer | User) -> None:
    encode, parse = {
        Event: (encode_event, event_pb2.Event.FromString),
        Item: (encode_item, item_pb2.Item.FromString),
        Offer: (encode_offer, offer_pb2.Offer.FromString),
        User: (encode_user, user_pb2.User.FromString),
    }[type(message)]
    binary = parse(encode(message, PROTOBUF))  # type: ignore[operator]
    text = json_format.MessageToJson(binary)
    assert DECODE[type(message)](text.encode(), JSON) == message


@given(events | items | offers | users)
def test_both_ways_of_reading_json_agree(message: Event | Item | Offer | User) -> None:
    encode = {
        Event: encode_event,
        Item: encode_item,
        Offer: encode_offer,
        User: encode_user,
    }[type(message)]
    fields = json.loads(encode(message, JSON))  # type: ignore[operator]
    assert forms.read(type(message), fields) == message
    assert forms.tidied(message) == message


@given(st.integers(-(2**80), 2**80), st.sampled_from(["time_ms", "position", "value"]))
def test_a_number_and_the_text_of_it_are_the_same(number: int, field: str) -> None:
    def outcome(value: Any) -> Any:
        try:
            return getattr(from_json(Event, {field: value}), field)
        except BadRecord:
            return "refused"

    assert outcome(number) == outcome(str(number))


def test_golden_examples_are_read_in_protobufs_names() -> None:
    golden = Path(__file__).parents[2] / "protos" / "golden"
    fields = json.loads((golden / "item.json").read_text())
    camel = {"itemId": fields.pop("item_id"), "imageBytes": fields.pop("image_bytes"), **fields}
    item = decode_item(json.dumps(camel).encode(), JSON)
    assert item == decode_item((golden / "item.json").read_bytes(), JSON)
    assert base64.b64encode(item.image_bytes or b"").decode() == camel["imageBytes"]
