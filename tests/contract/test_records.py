"""Headers: encoding, origin and what a dead letter says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract import records
from freshet.contract.records import JSON, PROTOBUF, BadRecord, Origin


@dataclass
class Consumed:
    """A record as a consumer hands it over."""

    topic: str = "clicks"
    partition: int = 2
    offset: int = 41
    timestamp: int = 1_000
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=tuple)


AS_JSON = ("content-type", b"application/json")
AS_PROTOBUF = ("content-type", b"application/protobuf")


@pytest.mark.parametrize(
    ("headers", "encoding"),
    [
        ([], JSON),
        ([("other", b"x")], JSON),
        ([AS_JSON], JSON),
        ([("content-type", b"Application/JSON; charset=utf-8")], JSON),
        ([AS_PROTOBUF], PROTOBUF),
        (
            [("content-type", b"application/json"), ("content-type", b"application/protobuf")],
            PROTOBUF,
        ),
    ],
)
def test_the_header_tells_the_encoding(headers: records.Headers, encoding: str) -> None:
    assert records.content_type(headers) == encoding


@pytest.mark.parametrize("value", [b"", b"text/csv", b"\xff\xfe", b"application/json5"])
def test_an_encoding_that_nobody_reads_is_refused(value: bytes) -> None:
    with pytest.raises(
        BadRecord, match="header content-type must be application/json or"
    ) as caught:
        records.content_type([("content-type", value)])
    assert caught.value.error_class == records.UNKNOWN_ENCODING


def test_a_record_is_its_own_origin() -> None:
    assert records.origin_of(Consumed()) == Origin("clicks", 2, 41, 1_000)


def test_a_replayed_dead_letter_has_the_origin_in_its_headers() -> None:
    first = Origin("clicks", 0, 7, 900)
    replay = Consumed(headers=records.origin_headers(first))
    assert records.origin_of(replay) == first


def test_an_origin_is_never_later_than_its_replay() -> None:
    ahead = records.origin_headers(Origin("clicks", 0, 7, 5_000))
    assert records.origin_of(Consumed(headers=ahead)).time_ms == 1_000


@pytest.mark.parametrize(
    ("where", "when"),
    [
        (b"clicks:0:7", None),
        (None, b"900"),
        (b"clicks:0", b"900"),
        (b":0:7", b"900"),
        (b"clicks:-1:7", b"900"),
        (b"clicks:0:x", b"900"),
        (b"clicks:0:" + b"9" * 19, b"900"),
        (b"clicks:0:7", b"later"),
        (b"clicks:0:7", b"-5"),
        (b"\xff:0:7", b"900"),
    ],
)
def test_headers_that_are_no_origin_count_for_nothing(
    where: bytes | None, when: bytes | None
) -> None:
    pairs = [(records.ORIGIN, where), (records.ORIGIN_TIME_MS, when)]
    headers = [(name, value) for name, value in pairs if value is not None]
    assert records.origin_of(Consumed(headers=headers)) == Origin("clicks", 2, 41, 1_000)


@given(st.lists(st.tuples(st.sampled_from(["origin", "origin-time-ms"]), st.binary())))
def test_no_header_makes_an_origin_raise(headers: list[tuple[str, bytes]]) -> None:
    assert records.origin_of(Consumed(headers=headers)).time_ms <= 1_000


def test_a_dead_letter_says_where_it_stood_and_why_it_failed() -> None:
    error = BadRecord(records.OUT_OF_BOUNDS, "k must be at most 3, was 4")
    own = [("content-type", b"application/protobuf"), ("trace", b"t-1")]
    record = Consumed("clicks", 0, 7, 900, b"ana", headers=own)
    headers = records.dead_letter_headers(record, error, "sessions", 1_234)
    assert dict(headers) == {
        "content-type": b"application/protobuf",
        "trace": b"t-1",
        "origin": b"clicks:0:7",
        "origin-time-ms": b"900",
        "origin-key": b"ana",
        "error-class": b"out-of-bounds",
        "error-text": b"k must be at most 3, was 4",
        "service": b"sessions",
        "failed-ms": b"1234",
    }


def test_a_replay_has_the_original_topic_key_and_headers_and_keeps_its_origin() -> None:
    error = BadRecord(records.UNDECODABLE, "not an event")
    origin = Origin("clicks", 0, 7, 900)
    own = [("content-type", b"application/protobuf")]
    record = Consumed("clicks", 0, 7, 900, b"ana", headers=own)
    dead = records.dead_letter_headers(record, error, "sessions", 1_234)
    topic, key, headers = records.replay_of(dead)
    assert (topic, key) == ("clicks", b"ana")
    assert headers == own + records.origin_headers(origin)
    replay = Consumed("clicks", 0, 99, 1_400, key, headers=headers)
    again = records.dead_letter_headers(replay, error, "sessions", 1_500)
    assert dict(again)["origin"] == b"clicks:0:99"
    assert records.replay_of(again) == (topic, key, headers)


@pytest.mark.parametrize(
    "forged",
    [
        records.origin_headers(Origin("items", 0, 1, 900)),
        [("first-origin", b"items:0:1"), ("first-origin-time-ms", b"900")],
        [("origin-key", b"lamp"), ("service", b"embedding"), ("value-sha256", b"00")],
    ],
)
def test_no_header_of_a_record_says_where_its_dead_letter_goes(
    forged: list[tuple[str, bytes]],
) -> None:
    record = Consumed("clicks", 2, 41, 1_000, headers=forged)
    error = BadRecord(records.UNDECODABLE, "not an event")
    dead = records.dead_letter_headers(record, error, "sessions", 1_234)
    assert dict(dead)["service"] == b"sessions"
    origin = records.origin_headers(Origin("clicks", 2, 41, 1_000))
    assert records.replay_of(dead) == ("clicks", None, origin)


def test_a_dead_letter_without_a_key_is_replayed_without_one() -> None:
    error = BadRecord(records.WRONG_KEY, "no key")
    dead = records.dead_letter_headers(Consumed(), error, "sessions", 1)
    assert records.replay_of(dead)[1] is None


def test_what_is_no_dead_letter_cannot_be_replayed() -> None:
    with pytest.raises(BadRecord, match="a dead letter must have the headers origin"):
        records.replay_of([("content-type", b"application/json")])


def test_a_long_error_is_cut_in_the_header() -> None:
    error = BadRecord(records.UNDECODABLE, "!" + "é" * 2_000)
    headers = records.dead_letter_headers(Consumed(), error, "s", 1)
    assert dict(headers)[records.ERROR_TEXT].decode() == "!" + "é" * 511


@pytest.mark.parametrize("key", [None, b"", b"bob", b"\xff"])
def test_a_record_under_another_key_is_refused(key: bytes | None) -> None:
    with pytest.raises(BadRecord, match="the record's key must be the id 'ana'") as caught:
        records.check_key(key, "ana")
    assert caught.value.error_class == records.WRONG_KEY


def test_the_right_key_is_the_ids_bytes() -> None:
    records.check_key("日本".encode(), "日本")
