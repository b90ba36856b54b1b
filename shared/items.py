"""Item, Offer and ItemVector: frozen values of the item topics.

Items and offers come from apps, in JSON or protobuf; item vectors from embedding, in protobuf.
Legend: d numbers of the serving space.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from msgspec import Meta
from numpy.typing import NDArray

from protos import item_pb2, offer_pb2, vector_pb2
from shared import bounds
from shared.records import JSON, UNDECODABLE, BadRecord, shorten
from shared.topics import MESSAGE_MAX_BYTES

TITLE_BYTES: Final = 512
DESCRIPTION_BYTES: Final = 16 * 1024
CATEGORIES: Final = 32
TAGS: Final = 64
ATTRIBUTES: Final = 64
ATTRIBUTE_BYTES: Final = 1024
IMAGE_BYTES: Final = 4 * 1024 * 1024
IMAGE_URI_BYTES: Final = 2048
OFFER_BYTES: Final = 64 * 1024
DIM_AT_MOST: Final = 4096
HASH_BYTES: Final = 64
LENGTH_TOLERANCE: Final = 0.02  # float16 has 11 bits: unit vectors of 4,096 numbers stay inside

Attribute = str | float | bool
Vector = NDArray[np.float16]

# The bounds as JSON Schema shows them; the checks below are what enforces them.
_Id = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": bounds.ID_BYTES})]
_Time = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": bounds.INT64_MAX})]
_Price = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
_Currency = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})]
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class Offer(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What changes often about an item. Absent fields leave the item's own values as they are."""

    item_id: _Id
    price: _Price | None = None
    currency: _Currency | None = None
    in_stock: bool | None = None
    available_from_ms: _Time | None = None
    available_until_ms: _Time | None = None
    updated_ms: _Time | None = None


class Item(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What can be recommended, the whole of it. Lengths count UTF-8 bytes."""

    item_id: _Id
    title: Annotated[str, Meta(extra_json_schema={"maxLength": TITLE_BYTES})] = ""
    description: Annotated[str, Meta(extra_json_schema={"maxLength": DESCRIPTION_BYTES})] = ""
    categories: Annotated[tuple[_Id, ...], Meta(extra_json_schema={"maxItems": CATEGORIES})] = ()
    tags: Annotated[tuple[_Id, ...], Meta(extra_json_schema={"maxItems": TAGS})] = ()
    attributes: Annotated[
        dict[str, Attribute], Meta(extra_json_schema={"maxProperties": ATTRIBUTES})
    ] = {}
    price: _Price | None = None
    currency: _Currency | None = None
    in_stock: bool | None = None
    available_from_ms: _Time | None = None
    available_until_ms: _Time | None = None
    image_bytes: (
        Annotated[bytes, Meta(description="JPEG, PNG or WebP, at most 4 MiB before base64")] | None
    ) = None
    image_uri: (
        Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": IMAGE_URI_BYTES})]
        | None
    ) = None
    updated_ms: _Time | None = None


class ItemVector(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """An encoded item. Compared by identity, because arrays have no single truth value.

    vector: (d,) float16 of unit length, in `space`. image_vector, text_vector: the modality's own
    part, (p,) and (t,) float16, empty without the modality.
    item: as published, without its picture.
    """

    item_id: str
    space: str
    vector: Vector
    image_vector: Vector
    text_vector: Vector
    content_hash: bytes
    item: Item
    version: int
    arrived_ms: int
    encoded_ms: int


_item_from_json = msgspec.json.Decoder(Item).decode
_offer_from_json = msgspec.json.Decoder(Offer).decode
_to_json = msgspec.json.Encoder(order="deterministic").encode
_Decoded = TypeVar("_Decoded")


def decode_item(value: bytes, content_type: str) -> Item:
    """Decode and check a record of `items` or `items-backfill`; the caller handles null (delete).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("an item", value, MESSAGE_MAX_BYTES)
    item = _decode("an item", _item_from_json, _item_from_protobuf, value, content_type)
    check_item(item)
    return item


def encode_item(item: Item, content_type: str = JSON) -> bytes:
    """Encode an item, the same bytes for equal items. Raises BadRecord if it is out of bounds."""
    check_item(item)
    if content_type == JSON:
        return _to_json(item)
    return item_message(item).SerializeToString(deterministic=True)


def decode_offer(value: bytes, content_type: str) -> Offer:
    """Decode and check a record of `offers`; the caller handles null (the offer is taken back).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("an offer", value, OFFER_BYTES)
    offer = _decode("an offer", _offer_from_json, _offer_from_protobuf, value, content_type)
    check_offer(offer)
    return offer


def encode_offer(offer: Offer, content_type: str = JSON) -> bytes:
    """Encode an offer, the same bytes for equal offers. Raises BadRecord if it is out of bounds."""
    check_offer(offer)
    if content_type == JSON:
        return _to_json(offer)
    return offer_pb2.Offer(**_present(offer)).SerializeToString(deterministic=True)


def decode_item_vector(value: bytes) -> ItemVector:
    """Decode and check a record of `item-vectors`; the caller handles null (delete).

    Vectors are read-only views of the decoded bytes. Raises BadRecord, and nothing else: NaN,
    infinite, zero and odd-sized vectors end here. Whether the size is that of the space only
    the reader knows.
    """
    try:
        message = vector_pb2.ItemVector.FromString(value)
    except DecodeError as error:
        raise BadRecord(UNDECODABLE, f"not an item vector: {error}") from None
    decoded = ItemVector(
        item_id=message.item_id,
        space=message.space,
        vector=_vector("vector", message.vector),
        image_vector=_vector("image_vector", message.image_vector),
        text_vector=_vector("text_vector", message.text_vector),
        content_hash=message.content_hash,
        item=item_of_message(message.item),
        version=message.version,
        arrived_ms=message.arrived_ms,
        encoded_ms=message.encoded_ms,
    )
    check_item_vector(decoded)
    return decoded


def encode_item_vector(encoded: ItemVector) -> bytes:
    """Encode an item vector, the same bytes for equal ones. Raises BadRecord if out of bounds."""
    check_item_vector(encoded)
    return vector_pb2.ItemVector(
        item_id=encoded.item_id,
        space=encoded.space,
        vector=_bytes(encoded.vector),
        image_vector=_bytes(encoded.image_vector),
        text_vector=_bytes(encoded.text_vector),
        content_hash=encoded.content_hash,
        item=item_message(encoded.item),
        version=encoded.version,
        arrived_ms=encoded.arrived_ms,
        encoded_ms=encoded.encoded_ms,
    ).SerializeToString(deterministic=True)


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


def check_item(item: Item) -> None:
    """Check every bound of an item (design: contracts). Raises BadRecord."""
    check_offer(item)
    bounds.check_text("title", item.title, TITLE_BYTES)
    bounds.check_text("description", item.description, DESCRIPTION_BYTES)
    bounds.check_ids("categories", item.categories, CATEGORIES)
    bounds.check_ids("tags", item.tags, TAGS)
    if len(item.attributes) > ATTRIBUTES:
        bounds.refuse("attributes", f"at most {ATTRIBUTES}", f"{len(item.attributes)}")
    for name, attribute in item.attributes.items():
        bounds.check_id("a name in attributes", name)
        if isinstance(attribute, str):
            bounds.check_text("a text in attributes", attribute, ATTRIBUTE_BYTES)
        else:
            bounds.check_finite("a number in attributes", attribute)
    if item.image_bytes is not None and item.image_uri is not None:
        bounds.refuse("image", "image_bytes or image_uri", "both")
    if item.image_bytes is not None and len(item.image_bytes) > IMAGE_BYTES:
        bounds.refuse("image_bytes", f"at most {IMAGE_BYTES} bytes", f"{len(item.image_bytes)}")
    if item.image_uri is not None:
        bounds.check_id("image_uri", item.image_uri, IMAGE_URI_BYTES)


def check_item_vector(encoded: ItemVector) -> None:
    """Check what is not the item's own: ids, times and the three vectors. Raises BadRecord."""
    bounds.check_id("item_id", encoded.item_id)
    bounds.check_id("space", encoded.space)
    if encoded.item.item_id != encoded.item_id:
        bounds.refuse("item.item_id", "the item_id beside it", shorten(encoded.item.item_id))
    if encoded.item.image_bytes is not None:
        bounds.refuse("item.image_bytes", "absent", f"{len(encoded.item.image_bytes)} bytes")
    if len(encoded.content_hash) > HASH_BYTES:
        size = len(encoded.content_hash)
        bounds.refuse("content_hash", f"at most {HASH_BYTES} bytes", f"{size}")
    bounds.check_time("version", encoded.version)
    bounds.check_time("arrived_ms", encoded.arrived_ms)
    bounds.check_time("encoded_ms", encoded.encoded_ms)
    if not encoded.vector.size:
        bounds.refuse("vector", f"1-{DIM_AT_MOST} numbers", "empty")
    length = _length("vector", encoded.vector)
    if abs(length - 1) > LENGTH_TOLERANCE:
        bounds.refuse("vector", "of unit length", f"{length:.3g}")
    _length("image_vector", encoded.image_vector)
    _length("text_vector", encoded.text_vector)


def item_message(item: Item) -> item_pb2.Item:
    """Return an item as a protobuf message, for gRPC and item vectors. Checks nothing."""
    fields = _present(item)
    fields["attributes"] = {name: _attribute(value) for name, value in item.attributes.items()}
    return item_pb2.Item(**fields)


def item_of_message(message: item_pb2.Item) -> Item:
    """Return the item in a protobuf message, checked. Raises BadRecord."""
    item = _item_of(message)
    check_item(item)
    return item


def _decode(
    what: str,
    from_json: Callable[[bytes], _Decoded],
    from_protobuf: Callable[[bytes], _Decoded],
    value: bytes,
    content_type: str,
) -> _Decoded:
    try:
        return from_json(value) if content_type == JSON else from_protobuf(value)
    except (ValueError, RecursionError, DecodeError) as error:
        raise BadRecord(UNDECODABLE, f"not {what} in {content_type}: {error}") from None


def _item_from_protobuf(value: bytes) -> Item:
    return _item_of(item_pb2.Item.FromString(value))


def _item_of(message: item_pb2.Item) -> Item:
    attributes = message.attributes
    return Item(
        **_offer_fields(message),
        title=message.title,
        description=message.description,
        categories=tuple(message.categories),
        tags=tuple(message.tags),
        attributes={
            name: attribute
            for name in attributes
            if (attribute := _attribute_of(attributes[name])) is not None
        },
        image_bytes=message.image_bytes if message.HasField("image_bytes") else None,
        image_uri=message.image_uri if message.HasField("image_uri") else None,
    )


def _offer_from_protobuf(value: bytes) -> Offer:
    return Offer(**_offer_fields(offer_pb2.Offer.FromString(value)))


def _offer_fields(message: item_pb2.Item | offer_pb2.Offer) -> dict[str, Any]:
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


def _attribute(value: Attribute) -> item_pb2.Attribute:
    if isinstance(value, bool):  # before numbers: a bool is an int in Python
        return item_pb2.Attribute(flag=value)
    if isinstance(value, str):
        return item_pb2.Attribute(text=value)
    return item_pb2.Attribute(number=value)


def _attribute_of(message: item_pb2.Attribute) -> Attribute | None:
    """Return an attribute's value; None where a newer producer used a kind unknown here."""
    kind = message.WhichOneof("value")
    return None if kind is None else getattr(message, kind)


def _present(value: msgspec.Struct) -> dict[str, Any]:
    return {
        name: field for name, field in msgspec.structs.asdict(value).items() if field is not None
    }


def _length(field: str, vector: Vector) -> float:
    """Return a vector's length in float64, once it is known to be finite and not too long."""
    if vector.size > DIM_AT_MOST:
        bounds.refuse(field, f"at most {DIM_AT_MOST} numbers", f"{vector.size}")
    with np.errstate(invalid="ignore"):
        wide = vector.astype(np.float64)
        squared = float(wide @ wide)  # (d,) @ (d,); NaN and infinity in any part show here
    if not math.isfinite(squared):
        bounds.refuse(field, "finite numbers", "NaN or infinite")
    return math.sqrt(squared)


def _vector(field: str, raw: bytes) -> Vector:
    if len(raw) % 2:
        bounds.refuse(field, "float16, two bytes a number", f"{len(raw)} bytes")
    return np.frombuffer(raw, dtype="<f2")


def _bytes(vector: Vector) -> bytes:
    return vector.astype("<f2", copy=False).tobytes()
