"""Decode and encode offers: what changes often about an item, in JSON or protobuf alike.

An item carries the same fields, so their types, bounds and decoding stand here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError
from msgspec import Meta

from freshet.contract import bounds
from freshet.contract.records import JSON, UNDECODABLE, BadRecord, shorten
from freshet.v1 import item_pb2, offer_pb2

if TYPE_CHECKING:
    from freshet.contract.items import Item

OFFER_BYTES: Final = 64 * 1024

# The bounds as JSON Schema shows them; the checks below are what enforces them.
Id = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": bounds.ID_BYTES})]
Time = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": bounds.INT64_MAX})]
Price = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Currency = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})]
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class Offer(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What changes often about an item. Absent fields leave the item's own values as they are."""

    item_id: Id
    price: Price | None = None
    currency: Currency | None = None
    in_stock: bool | None = None
    available_from_ms: Time | None = None
    available_until_ms: Time | None = None
    updated_ms: Time | None = None


_from_json = msgspec.json.Decoder(Offer).decode
_to_json = msgspec.json.Encoder(order="deterministic").encode
_Decoded = TypeVar("_Decoded")


def decode_offer(value: bytes, content_type: str) -> Offer:
    """Decode and check a record of `offers`; the caller handles null (the offer is taken back).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("an offer", value, OFFER_BYTES)
    offer = decode("an offer", _from_json, _from_protobuf, value, content_type)
    check_offer(offer)
    return offer


def encode_offer(offer: Offer, content_type: str = JSON) -> bytes:
    """Encode an offer, the same bytes for equal offers. Raises BadRecord if it is out of bounds."""
    check_offer(offer)
    if content_type == JSON:
        return _to_json(offer)
    return offer_pb2.Offer(**present(offer)).SerializeToString(deterministic=True)


def check_offer(offer: Offer | Item) -> None:
    """Check the bounds of an offer, or of an item's part that offers change. Raises BadRecord."""
    bounds.check_id("item_id", offer.item_id)
    if offer.price is not None:
        bounds.check_finite("price", offer.price)
        if offer.price < 0:
            bounds.refuse("price", "0 or more", repr(offer.price))
    if offer.currency is not None and not _CURRENCY.fullmatch(offer.currency):
        bounds.refuse("currency", "three letters A-Z (ISO 4217)", shorten(offer.currency))
    bounds.check_time("available_from_ms", offer.available_from_ms)
    bounds.check_time("available_until_ms", offer.available_until_ms)
    bounds.check_time("updated_ms", offer.updated_ms)


def decode(
    what: str,
    from_json: Callable[[bytes], _Decoded],
    from_protobuf: Callable[[bytes], _Decoded],
    value: bytes,
    content_type: str,
) -> _Decoded:
    """Decode a value in either encoding. Raises BadRecord, and nothing else."""
    try:
        return from_json(value) if content_type == JSON else from_protobuf(value)
    except (ValueError, RecursionError, DecodeError) as error:
        raise BadRecord(UNDECODABLE, f"not {what} in {content_type}: {error}") from None


def _from_protobuf(value: bytes) -> Offer:
    return Offer(**offer_fields(offer_pb2.Offer.FromString(value)))


def offer_fields(message: item_pb2.Item | offer_pb2.Offer) -> dict[str, Any]:
    """Return the fields that items and offers share, None for those that are absent."""
    has = message.HasField
    return {
        "item_id": message.item_id,
        "price": message.price if has("price") else None,
        "currency": message.currency if has("currency") else None,
        "in_stock": message.in_stock if has("in_stock") else None,
        "available_from_ms": message.available_from_ms if has("available_from_ms") else None,
        "available_until_ms": message.available_until_ms if has("available_until_ms") else None,
        "updated_ms": message.updated_ms if has("updated_ms") else None,
    }


def present(value: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a value that are set."""
    return {
        name: field for name, field in msgspec.structs.asdict(value).items() if field is not None
    }
