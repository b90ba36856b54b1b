"""Decode and encode offers: what changes often about an item, in JSON or protobuf alike.

An item carries the same fields, so their types, bounds and decoding stand here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds, forms
from freshet.contract.bounds import Id, Time
from freshet.contract.records import JSON, shorten
from freshet.v1 import item_pb2, offer_pb2

if TYPE_CHECKING:
    from freshet.contract.items import Item

OFFER_BYTES: Final = 64 * 1024

# The bounds as JSON Schema shows them; the checks below are what enforces them.
Price = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Start = Annotated[
    int,
    Meta(
        description="0: from ever",
        extra_json_schema={
            "anyOf": [
                {"const": 0},
                {"minimum": bounds.EARLIEST_MS, "maximum": bounds.LATEST_MS},
            ]
        },
    ),
]
Currency = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})]
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class Offer(forms.Message, frozen=True, kw_only=True):
    """What changes often about an item; it may carry only what changed.

    Price, currency, stock and window are kept each by itself: what is absent stays as an earlier
    offer had it, else as the item has it.
    """

    item_id: Id
    price: Price | None = None
    currency: Currency | None = None
    in_stock: bool | None = None
    available_from_ms: Start | None = None
    available_until_ms: Time | None = None
    updated_ms: Time | None = None


_strict = msgspec.json.Decoder(Offer)
_to_json = msgspec.json.Encoder(order="deterministic").encode


def decode_offer(value: bytes, content_type: str) -> Offer:
    """Decode and check a record of `offers`; the caller handles null (the offer is taken back).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("an offer", value, OFFER_BYTES)
    offer = forms.decode(_strict, _from_protobuf, value, content_type)
    check_offer(offer)
    return offer


def encode_offer(offer: Offer, content_type: str = JSON) -> bytes:
    """Encode an offer, the same bytes for equal offers. Raises BadRecord if it is out of bounds."""
    check_offer(offer)
    if content_type == JSON:
        return _to_json(offer)
    return offer_pb2.Offer(**present(offer)).SerializeToString(deterministic=True)


def check_offer(offer: Offer) -> None:
    """Check every bound of an offer (docs/architecture.md: contracts). Raises BadRecord."""
    check_terms(offer)
    check_times(offer)


def check_terms(offer: Offer | Item) -> None:
    """Check the bounds of what items and offers share, but for their times. Raises BadRecord."""
    bounds.check_id("item_id", offer.item_id)
    if offer.price is not None:
        bounds.check_finite("price", offer.price)
        if offer.price < 0:
            bounds.refuse("price", "0 or more", repr(offer.price))
    if offer.currency is not None and not _CURRENCY.fullmatch(offer.currency):
        bounds.refuse("currency", "three letters A-Z (ISO 4217)", shorten(offer.currency))


def check_times(offer: Offer | Item) -> None:
    """Check each time that a client states, and that the window has its end behind its start.

    Raises BadRecord.
    """
    for name in offer.__struct_fields__:
        time_ms = getattr(offer, name) if name.endswith("_ms") else None
        if (name, time_ms) != ("available_from_ms", 0):
            bounds.check_time(name, time_ms)
    start, end = offer.available_from_ms, offer.available_until_ms
    if start is not None and end is not None and end < start:
        bounds.refuse("available_until_ms", f"at or after available_from_ms, {start}", str(end))


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
