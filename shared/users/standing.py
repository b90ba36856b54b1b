"""Pack what stands of a user in Redis, what the shop said last with its version; unpack it. Pure.

What was deleted or forgotten stands too, for as long as an older record may still come.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from freshet.contract.bounds import INT64_MAX
from freshet.contract.items import Attribute
from freshet.contract.users import User
from shared.catalogue.versions import UNSTATED, LogPlace, RecordVersion


class StandingUser(NamedTuple):
    """What counts of a user, and since which record."""

    version: RecordVersion
    user: User | None  # None: deleted or forgotten


class _PackedUser(msgspec.Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """A MessagePack array; fields are added at its end."""

    format: Literal[1]
    time_ms: int  # where the record stands
    offset: int
    known: bool
    country: str | None = None
    language: str | None = None
    segments: tuple[str, ...] = ()
    attributes: dict[str, Attribute] = {}
    updated_ms: int | None = None
    since_ms: int = 0  # beside updated_ms: the last record that states none
    since_offset: int = 0


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_PackedUser).decode
_NOBODY: Final = User(user_id="-")


def forgotten(time_ms: int) -> StandingUser:
    """Return what stands after a forget event of this record time: behind all of that time."""
    place = LogPlace(time_ms, False, INT64_MAX)
    return StandingUser(RecordVersion(place, UNSTATED, place), None)


def pack(standing: StandingUser) -> bytes:
    """Return the bytes that Redis holds, without the user's id."""
    version, user = standing.version, standing.user or _NOBODY
    stated = version.updated_ms != UNSTATED
    return _pack(
        _PackedUser(
            1,
            version.place.time_ms,
            version.place.offset,
            standing.user is not None,
            user.country,
            user.language,
            user.segments,
            user.attributes,
            version.updated_ms if stated else None,
            version.since.time_ms if stated else 0,
            version.since.offset if stated else 0,
        )
    )


def unpack(user_id: str, value: bytes) -> StandingUser:
    """Read a packed value; the user has the `updated_ms` that counts. Raises ValueError."""
    packed = _unpack(value)
    place = LogPlace(packed.time_ms, False, packed.offset)
    since, updated_ms = place, UNSTATED
    if packed.updated_ms is not None:
        since = LogPlace(packed.since_ms, False, packed.since_offset)
        updated_ms = packed.updated_ms
    user = None
    if packed.known:
        user = User(
            user_id=user_id,
            country=packed.country,
            language=packed.language,
            segments=packed.segments,
            attributes=packed.attributes,
            updated_ms=packed.updated_ms,
        )
    return StandingUser(RecordVersion(since, updated_ms, place), user)
