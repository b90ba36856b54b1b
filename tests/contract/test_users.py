"""Users: every bound in both encodings, and nothing but BadRecord."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.bounds import EARLIEST_MS, LATEST_MS
from freshet.contract.items import attribute_messages
from freshet.contract.records import (
    JSON,
    OUT_OF_BOUNDS,
    PROTOBUF,
    TOO_LARGE,
    BadRecord,
)
from freshet.contract.users import USER_BYTES, User, check_user, decode_user, encode_user
from freshet.v1 import user_pb2
from tests.contract.strategies import json_values, users

ENCODINGS = pytest.mark.parametrize("encoding", [JSON, PROTOBUF])


def encoded(encoding: str, fields: dict[str, Any]) -> bytes:
    """Encode fields as an app would that does not know the bounds."""
    if encoding == JSON:
        return json.dumps(fields).encode()
    attributes = attribute_messages(fields.get("attributes", {}))
    return user_pb2.User(**fields | {"attributes": attributes}).SerializeToString()


@ENCODINGS
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user_id": ""}, "user_id must be 1-128 bytes"),
        ({"user_id": "a\tb"}, "user_id must be 1-128 bytes of UTF-8 without control characters"),
        ({"country": "de"}, "country must be two letters A-Z (ISO 3166), was 'de'"),
        ({"country": "DEU"}, "country must be two letters"),
        ({"country": "DE\n"}, "country must be two letters"),
        ({"country": ""}, "country must be two letters"),
        ({"language": "de_AT"}, "language must be a BCP 47 tag such as pt-BR, was 'de_AT'"),
        ({"language": ""}, "language must be a BCP 47 tag"),
        ({"language": "de" + "-abcdefgh" * 4}, "language must be a BCP 47 tag"),
        ({"segments": [f"s{n}" for n in range(17)]}, "segments must be at most 16, was 17"),
        ({"segments": ["vip", ""]}, "an entry of segments must be 1-128 bytes"),
        ({"segments": ["s" * 129]}, "an entry of segments must be 1-128 bytes"),
        ({"attributes": {f"a{n}": True for n in range(65)}}, "attributes must be at most 64"),
        ({"attributes": {"": True}}, "a name in attributes must be 1-128 bytes"),
        ({"attributes": {"a": "x" * 1025}}, "attributes.a must be at most 1024 bytes"),
        ({"updated_ms": 1_800_000_000}, "was 1800000000, which is 1970-01-21T20:00:00Z"),
    ],
)
def test_a_user_out_of_bounds_is_refused_by_name_and_bound(
    encoding: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_user(encoded(encoding, {"user_id": "ana"} | changes), encoding)
    assert words in str(caught.value)
    assert caught.value.error_class == OUT_OF_BOUNDS


@ENCODINGS
@pytest.mark.parametrize(
    "changes",
    [
        {"country": "JP", "language": "zh-Hant-TW", "segments": ["é" * 64] * 16},
        {"attributes": {f"a{n}": "x" * 200 for n in range(64)}},
        {"attributes": {"number": 5.0, "text": "5", "flag": True}},
        {"attributes": {"a": "x" * 1024}, "updated_ms": LATEST_MS},
        {"updated_ms": EARLIEST_MS},
    ],
)
def test_values_at_their_bounds_are_taken(encoding: str, changes: dict[str, Any]) -> None:
    fields = {"user_id": "ana"} | changes
    user = decode_user(encoded(encoding, fields), encoding)
    as_lists = {name: getattr(user, name) for name in fields}
    as_lists |= {n: list(v) for n, v in as_lists.items() if isinstance(v, tuple)}
    assert as_lists == fields


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(BadRecord, match="attributes.orders must be a finite number"):
        decode_user(
            encoded(PROTOBUF, {"user_id": "ana", "attributes": {"orders": number}}), PROTOBUF
        )
    with pytest.raises(BadRecord, match="attributes.orders must be a finite number"):
        check_user(User(user_id="ana", attributes={"orders": number}))


@ENCODINGS
def test_a_user_as_a_whole_is_bounded_read_and_written(encoding: str) -> None:
    fields = {"user_id": "ana", "attributes": {f"a{n}": "x" * 1024 for n in range(17)}}
    value = encoded(encoding, fields)
    assert len(value) > USER_BYTES
    for refused in (
        lambda: decode_user(value, encoding),
        lambda: encode_user(User(**fields), encoding),  # type: ignore[arg-type]
    ):
        with pytest.raises(BadRecord, match=f"a user must be at most {USER_BYTES} bytes") as caught:
            refused()
        assert caught.value.error_class == TOO_LARGE


def test_an_attribute_of_a_kind_from_the_future_is_passed_over() -> None:
    message = user_pb2.User(user_id="ana")
    message.attributes["unknown"].ParseFromString(b"\x22\x03sky")  # field 4 of Attribute
    message.attributes["known"].flag = True
    assert decode_user(message.SerializeToString(), PROTOBUF).attributes == {"known": True}


@given(users)
def test_good_users_survive_both_encodings(user: User) -> None:
    for encoding in (JSON, PROTOBUF):
        assert decode_user(encode_user(user, encoding), encoding) == user


@given(st.binary(max_size=200), json_values)
def test_other_bytes_raise_bad_record_and_nothing_else(junk: bytes, value: Any) -> None:
    for encoding, raw in ((JSON, junk), (PROTOBUF, junk), (JSON, json.dumps(value).encode())):
        with suppress(BadRecord):
            check_user(decode_user(raw, encoding))


@pytest.mark.parametrize(
    ("user", "segments"),
    [
        (User(user_id="ana", country="JP", segments=("vip", "new")), ("vip", "new", "JP")),
        (User(user_id="ana", country="JP"), ("JP",)),
        (User(user_id="ana"), ()),
    ],
)
def test_a_country_is_a_segment_behind_those_that_are_named(
    user: User, segments: tuple[str, ...]
) -> None:
    assert user.all_segments == segments


def test_models_see_the_fields_before_attributes_of_the_same_name() -> None:
    user = User(user_id="ana", country="JP", attributes={"country": "Japan", "language": "ja"})
    assert user.features == {"country": "JP", "language": "ja"}
