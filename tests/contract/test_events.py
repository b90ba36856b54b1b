"""Events: every bound in both encodings, and nothing but BadRecord whatever the bytes are."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freshet.contract.bounds import EARLIEST_MS, LATEST_MS
from freshet.contract.events import EVENT_BYTES, Event, check, decode_event, encode_event
from freshet.contract.records import (
    JSON,
    OUT_OF_BOUNDS,
    PROTOBUF,
    TOO_LARGE,
    UNDECODABLE,
    BadRecord,
)
from freshet.v1 import event_pb2
from tests.contract.strategies import events, json_values

GOOD: dict[str, Any] = {"user_id": "ana", "item_id": "lamp", "type": "click"}


def encoded(encoding: str, fields: dict[str, Any]) -> bytes:
    """Encode fields as an app would that does not know the bounds."""
    if encoding == JSON:
        return json.dumps(fields).encode()
    return event_pb2.Event(**fields).SerializeToString()


def refused(encoding: str, changes: dict[str, Any]) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        decode_event(encoded(encoding, GOOD | changes), encoding)
    return caught.value


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF])
@pytest.mark.parametrize(
    ("sent", "is_"),
    [("DISLIKE", "dislike"), ("Like", "like"), (" hide ", "hide"), ("Wish List", "wish list")],
)
def test_case_and_blanks_around_a_type_do_not_count(encoding: str, sent: str, is_: str) -> None:
    event = decode_event(encoded(encoding, GOOD | {"type": sent}), encoding)
    assert event.type == is_
    assert event == Event(**GOOD | {"type": sent})
    assert decode_event(encode_event(event, encoding), encoding) == event


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF])
def test_a_forget_needs_no_item_however_it_is_written(encoding: str) -> None:
    event = decode_event(encoded(encoding, {"user_id": "ana", "type": "Forget"}), encoding)
    assert (event.type, event.item_id) == ("forget", "")


def test_a_type_that_grows_in_lower_case_is_held_to_its_bound() -> None:
    assert "type must be 1-64 bytes" in str(refused(JSON, {"type": "İ" * 32}))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"user_id": ""}, "user_id must be 1-128 bytes of UTF-8 without control characters, was ''"),
    ({"user_id": "a" * 129}, "user_id must be 1-128 bytes"),
    ({"user_id": "é" * 65}, "user_id must be 1-128 bytes"),
    ({"user_id": "a\x00b"}, "was 'a\\x00b'"),
    ({"user_id": "a\x85b"}, "user_id must be 1-128 bytes of UTF-8 without control characters"),
    ({"item_id": ""}, "item_id must be 1-128 bytes"),
    ({"item_id": "a" * 129}, "item_id must be 1-128 bytes"),
    ({"type": ""}, "type must be 1-64 bytes"),
    ({"type": "  "}, "type must be 1-64 bytes"),
    ({"type": "t" * 65}, "type must be 1-64 bytes"),
    ({"time_ms": -1}, "time_ms must be milliseconds since 1970, of 2000 to 2100, was -1, which is"),
    (
        {"time_ms": 1_800_000_000},  # of seconds
        "was 1800000000, which is 1970-01-21T20:00:00Z; if these are seconds, give 1800000000000",
    ),
    ({"time_ms": 1_800_000_000_000_000}, "if these are microseconds, give 1800000000000"),
    ({"time_ms": 1_800_000_000_000_000_000}, "if these are nanoseconds, give 1800000000000"),
    ({"time_ms": EARLIEST_MS - 1}, "which is 1999-12-31T23:59:59Z"),
    ({"time_ms": LATEST_MS + 1}, "which is 2100-01-01T00:00:00Z"),
    ({"time_ms": 20_240_105}, "which is 1970-01-01T05:37:20Z"),
    ({"session_id": ""}, "session_id must be 1-128 bytes"),
    ({"session_id": "s" * 129}, "session_id must be 1-128 bytes"),
    ({"request_id": "r\n"}, "request_id must be 1-128 bytes"),
    ({"event_id": "é" * 65}, "event_id must be 1-128 bytes"),
    ({"position": -1}, "position must be between 0 and 2^31-1, was -1"),
    ({"context": {f"k{n}": "v" for n in range(33)}}, "context must be at most 32 entries, was 33"),
    ({"context": {"k": "é" * 129}}, "context.k must be at most 256 bytes, was 258"),
    ({"context": {"k" * 257: "v"}}, "a name in context must be at most 256 bytes, was 257"),
]


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF])
@pytest.mark.parametrize(("changes", "words"), BAD)
def test_a_field_out_of_bounds_is_refused_by_name_and_bound(
    encoding: str, changes: dict[str, Any], words: str
) -> None:
    error = refused(encoding, changes)
    assert words in str(error)
    assert error.error_class == OUT_OF_BOUNDS


@pytest.mark.parametrize("encoding", [JSON, PROTOBUF])
@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "a" * 128, "item_id": "é" * 64, "type": "t" * 64},
        {"user_id": "user one", "item_id": "\u200b\u00a0\ue000"},
        {"time_ms": EARLIEST_MS, "position": 0, "value": -0.0},
        {"time_ms": LATEST_MS, "position": 2**31 - 1, "value": 1.7e308},
        {"context": {f"{n:>256}": "é" * 128 for n in range(32)}},
        {"type": "forget", "item_id": ""},
        {"type": "forget", "item_id": "lamp"},
        {"type": "a type of one's own"},
    ],
)
def test_values_at_their_bounds_are_taken(encoding: str, changes: dict[str, Any]) -> None:
    event = decode_event(encoded(encoding, GOOD | changes), encoding)
    assert {name: getattr(event, name) for name in GOOD | changes} == GOOD | changes


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_in_both_encodings(number: float) -> None:
    assert "value must be a finite number" in str(refused(PROTOBUF, {"value": number}))
    assert refused(JSON, {"value": number}).error_class == UNDECODABLE


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'{"user_id":"ana","type":"click","item_id":"\xff"}',
        b'{"user_id":"\\ud800","type":"click","item_id":"a"}',
        b'{"user_id":"ana","type":"click","item_id":"a","value":1e999}',
        b'{"user_id":"ana","type":"click","item_id":"a","more":' + b"[" * 100_000,
        b'{"user_id":"ana","type":"click","item_id":"a"} {}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_that_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRecord, match="^not an event in application/json: ") as caught:
        decode_event(raw, JSON)
    assert caught.value.error_class == UNDECODABLE


@pytest.mark.parametrize("digits", [19, 100, 5_000])
def test_an_integer_of_any_length_is_refused_in_few_words(digits: int) -> None:
    raw = json.dumps(GOOD)[:-1].encode() + b',"time_ms":' + b"9" * digits + b"}"
    with pytest.raises(BadRecord) as caught:
        decode_event(raw, JSON)
    assert len(str(caught.value)) < 160


def test_a_null_and_a_record_beyond_its_size_are_refused() -> None:
    with pytest.raises(BadRecord, match="an event must not be null"):
        decode_event(None, JSON)
    padded = json.dumps(GOOD).encode().ljust(EVENT_BYTES + 1)
    with pytest.raises(BadRecord, match="must be at most 262144 bytes, was 262145") as caught:
        decode_event(padded, JSON)
    assert caught.value.error_class == TOO_LARGE
    assert decode_event(padded[:-1], JSON) == Event(**GOOD)


def test_the_words_of_a_refusal_hold_only_the_beginning_of_an_id() -> None:
    words = str(refused(JSON, {"user_id": "jane.doe@example.org\n" + "x" * 40}))
    assert "jane.doe@exa" in words
    assert "example.org" not in words
    assert "(61 characters)" in words


def test_fields_from_the_future_are_passed_over_in_protobuf() -> None:
    unknown = b"\xf2\x3f\x03sky"  # field 1022, three bytes
    assert decode_event(encoded(PROTOBUF, GOOD) + unknown, PROTOBUF) == Event(**GOOD)


def test_a_bad_event_is_not_encoded_either() -> None:
    for encoding in (JSON, PROTOBUF):
        with pytest.raises(BadRecord, match="user_id must be"):
            encode_event(Event(**GOOD | {"user_id": "\ud800"}), encoding)


@given(events)
def test_every_good_event_survives_both_encodings(event: Event) -> None:
    for encoding in (JSON, PROTOBUF):
        assert decode_event(encode_event(event, encoding), encoding) == event


def good_or_refused(value: bytes, encoding: str) -> None:
    try:
        event = decode_event(value, encoding)
    except BadRecord as error:
        assert len(str(error)) < 400  # noqa: PT017 - any other exception fails the test
    else:
        check(event)
        assert decode_event(encode_event(event, encoding), encoding) == event


@given(st.binary(max_size=300), st.sampled_from([JSON, PROTOBUF]))
@example(b"\x0a\x01\xff", PROTOBUF)
def test_any_bytes_are_a_good_event_or_refused(value: bytes, encoding: str) -> None:
    good_or_refused(value, encoding)


@given(events, st.sampled_from([JSON, PROTOBUF]), st.data())
def test_a_damaged_event_is_a_good_event_or_refused(
    event: Event, encoding: str, data: st.DataObject
) -> None:
    value = bytearray(encode_event(event, encoding))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    good_or_refused(bytes(value), encoding)


@given(st.dictionaries(st.sampled_from(Event.__struct_fields__), json_values))
def test_json_of_the_wrong_shape_is_a_good_event_or_refused(fields: dict[str, Any]) -> None:
    good_or_refused(json.dumps(GOOD | fields).encode(), JSON)


def test_events_are_immutable_values() -> None:
    event = Event(**GOOD)
    with pytest.raises(AttributeError):
        event.user_id = "bob"  # type: ignore[misc]
    assert msgspec.structs.replace(event, user_id="bob") != event
