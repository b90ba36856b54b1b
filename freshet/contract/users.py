"""Decode and encode users: what the shop knows of them beside events, in JSON or protobuf alike."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds, forms
from freshet.contract.bounds import Id, Time
from freshet.contract.items import (
    ATTRIBUTES,
    Attribute,
    attribute_messages,
    attributes_of,
    check_attributes,
)
from freshet.contract.offers import present
from freshet.contract.records import JSON, shorten
from freshet.v1 import user_pb2

USER_BYTES: Final = 16 * 1024
SEGMENTS: Final = 16
LANGUAGE_BYTES: Final = 35  # what RFC 5646 asks programs to have room for

_COUNTRY: Final = r"[A-Z]{2}"
_LANGUAGE: Final = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*"
_is_country: Final = re.compile(_COUNTRY, re.ASCII).fullmatch
_is_language: Final = re.compile(_LANGUAGE, re.ASCII).fullmatch


class User(forms.Message, frozen=True, kw_only=True):
    """What the shop knows of a user, the whole of it. Lengths count UTF-8 bytes."""

    user_id: Id
    country: Annotated[str, Meta(extra_json_schema={"pattern": f"^{_COUNTRY}$"})] | None = None
    language: (
        Annotated[
            str, Meta(extra_json_schema={"pattern": f"^{_LANGUAGE}$", "maxLength": LANGUAGE_BYTES})
        ]
        | None
    ) = None
    segments: Annotated[tuple[Id, ...], Meta(extra_json_schema={"maxItems": SEGMENTS})] = ()
    attributes: Annotated[
        dict[str, Attribute], Meta(extra_json_schema={"maxProperties": ATTRIBUTES})
    ] = {}
    updated_ms: Time | None = None

    @property
    def all_segments(self) -> tuple[str, ...]:
        """What rules and trending take the user for, the country behind the segments."""
        return self.segments if self.country is None else (*self.segments, self.country)

    @property
    def features(self) -> dict[str, Attribute]:
        """What models may know of the user, by name: at most 66, country and language among them.

        The fields go before attributes of the same name.
        """
        named = {"country": self.country, "language": self.language}
        return self.attributes | {name: value for name, value in named.items() if value}


_strict = msgspec.json.Decoder(User)
_to_json = msgspec.json.Encoder(order="deterministic").encode


def decode_user(value: bytes, content_type: str) -> User:
    """Decode and check a record of `users`; the caller handles null (delete).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("a user", value, USER_BYTES)
    user = forms.decode(_strict, _from_protobuf, value, content_type)
    check_user(user)
    return user


def encode_user(user: User, content_type: str = JSON) -> bytes:
    """Encode a user, the same bytes for equal users. Raises BadRecord if it is out of bounds."""
    check_user(user)
    value = (
        _to_json(user)
        if content_type == JSON
        else user_message(user).SerializeToString(deterministic=True)
    )
    bounds.check_size("a user", value, USER_BYTES)
    return value


def check_user(user: User) -> None:
    """Check every bound of a user but the size of all (docs/architecture.md: contracts).

    Raises BadRecord.
    """
    bounds.check_id("user_id", user.user_id)
    if user.country is not None and not _is_country(user.country):
        bounds.refuse("country", "two letters A-Z (ISO 3166)", shorten(user.country))
    if user.language is not None and not (
        len(user.language) <= LANGUAGE_BYTES and _is_language(user.language)
    ):
        bounds.refuse("language", "a BCP 47 tag such as pt-BR", shorten(user.language))
    bounds.check_ids("segments", user.segments, SEGMENTS)
    check_attributes(user.attributes)
    bounds.check_time("updated_ms", user.updated_ms)


def user_message(user: User) -> user_pb2.User:
    """Return a user as a protobuf message. Checks nothing."""
    fields = present(user)
    fields["attributes"] = attribute_messages(user.attributes)
    return user_pb2.User(**fields)


def user_of_message(message: user_pb2.User) -> User:
    """Return the user in a protobuf message. Checks nothing."""
    has = message.HasField
    return User(
        user_id=message.user_id,
        country=message.country if has("country") else None,
        language=message.language if has("language") else None,
        segments=tuple(message.segments),
        attributes=attributes_of(message.attributes),
        updated_ms=message.updated_ms if has("updated_ms") else None,
    )


def _from_protobuf(value: bytes) -> User:
    return user_of_message(user_pb2.User.FromString(value))
