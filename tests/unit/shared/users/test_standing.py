"""What stands of a user, as Redis holds it."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.bounds import INT64_MAX
from freshet.contract.users import User
from shared.catalogue.versions import BEGINNING, UNSTATED, LogPlace, RecordVersion
from shared.users.standing import StandingUser, forgotten, pack, unpack
from tests.contract.strategies import users

PLACE = LogPlace(1_788_220_800_123, False, 42)


def stated(user: User) -> RecordVersion:
    updated_ms = UNSTATED if user.updated_ms is None else user.updated_ms
    return RecordVersion(PLACE if user.updated_ms is None else BEGINNING, updated_ms, PLACE)


@given(users)
def test_a_packed_user_is_read_again_with_its_version(user: User) -> None:
    standing = StandingUser(stated(user), user)
    assert unpack(user.user_id, pack(standing)) == standing


def test_what_was_deleted_or_forgotten_is_read_again_as_nobody() -> None:
    deleted = StandingUser(RecordVersion(PLACE, UNSTATED, PLACE), None)
    for standing in (deleted, forgotten(PLACE.time_ms)):
        assert unpack("ana", pack(standing)) == standing


def test_a_forget_is_behind_every_record_of_its_own_millisecond_and_before_the_next() -> None:
    gone = forgotten(PLACE.time_ms).version
    same = RecordVersion(PLACE, UNSTATED, LogPlace(PLACE.time_ms, False, INT64_MAX - 1))
    later = LogPlace(PLACE.time_ms + 1, False, 0)
    assert same.is_behind(gone)
    assert gone.is_behind(RecordVersion(later, UNSTATED, later))
    assert gone.is_behind(RecordVersion(BEGINNING, 5, later))  # which states a time of the shop's


def test_what_a_shop_says_of_most_users_takes_under_a_hundred_bytes() -> None:
    user = User(
        user_id="ana", country="JP", attributes={"age": "25-34", "gender": "f", "job": "cook"}
    )
    assert len(pack(StandingUser(stated(user), user))) < 100


@given(st.binary(max_size=64))
def test_other_bytes_raise_value_error_and_nothing_else(junk: bytes) -> None:
    with suppress(ValueError):
        unpack("ana", junk)


def test_a_newer_format_is_not_read_as_this_one() -> None:
    fields = msgspec.msgpack.decode(pack(forgotten(1)))
    with pytest.raises(ValueError, match="Invalid enum value 2"):
        unpack("ana", msgspec.msgpack.encode([2, *fields[1:]]))
