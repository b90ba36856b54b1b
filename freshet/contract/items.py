"""Decode and encode items: what can be recommended, in JSON or protobuf alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds, forms
from freshet.contract.bounds import Id, Time
from freshet.contract.offers import (
    Currency,
    Price,
    Start,
    check_terms,
    check_times,
    offer_fields,
    present,
)
from freshet.contract.records import JSON
from freshet.contract.topics import MESSAGE_MAX_BYTES
from freshet.v1 import item_pb2

TITLE_BYTES: Final = 512
DESCRIPTION_BYTES: Final = 16 * 1024
CATEGORIES: Final = 32
TAGS: Final = 64
ATTRIBUTES: Final = 64
ATTRIBUTE_BYTES: Final = 1024
IMAGE_URI_BYTES: Final = 2048

Attribute = str | float | bool


class Item(forms.Message, frozen=True, kw_only=True):
    """What can be recommended, the whole of it. Lengths count UTF-8 bytes."""

    item_id: Id
    title: Annotated[str, Meta(extra_json_schema={"maxLength": TITLE_BYTES})] = ""
    description: Annotated[str, Meta(extra_json_schema={"maxLength": DESCRIPTION_BYTES})] = ""
    categories: Annotated[tuple[Id, ...], Meta(extra_json_schema={"maxItems": CATEGORIES})] = ()
    tags: Annotated[tuple[Id, ...], Meta(extra_json_schema={"maxItems": TAGS})] = ()
    attributes: Annotated[
        dict[str, Attribute], Meta(extra_json_schema={"maxProperties": ATTRIBUTES})
    ] = {}
    price: Price | None = None
    currency: Currency | None = None
    in_stock: bool | None = None
    available_from_ms: Start | None = None
    available_until_ms: Time | None = None
    image_bytes: (
        Annotated[
            bytes,
            Meta(description="JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF: at most 4 MiB before base64"),
        ]
        | None
    ) = None
    image_uri: (
        Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": IMAGE_URI_BYTES})]
        | None
    ) = None
    updated_ms: Time | None = None
    created_ms: Time | None = None

    def __repr__(self) -> str:
        """Show what is set, a picture by its size."""
        shown = []
        for name, default in zip(self.__struct_fields__[1:], self.__struct_defaults__, strict=True):
            value = getattr(self, name)
            if name == "image_bytes" and value is not None:
                shown.append(f"{name}=<{len(value)} bytes>")
            elif value not in (default, {}):
                shown.append(f"{name}={value!r}")
        return f"Item({', '.join([f'item_id={self.item_id!r}', *shown])})"


_strict = msgspec.json.Decoder(Item)
_to_json = msgspec.json.Encoder(order="deterministic").encode


def decode_item(value: bytes, content_type: str) -> Item:
    """Decode and check a record of `items` or `items-backfill`; the caller handles null (delete).

    content_type: records.JSON or records.PROTOBUF. Raises BadRecord, and nothing else.
    """
    bounds.check_size("an item", value, MESSAGE_MAX_BYTES)
    item = forms.decode(_strict, _from_protobuf, value, content_type)
    check_item(item)
    return item


def encode_item(item: Item, content_type: str = JSON) -> bytes:
    """Encode an item, the same bytes for equal items. Raises BadRecord if it is out of bounds."""
    check_item(item)
    if content_type == JSON:
        return _to_json(item)
    return item_message(item).SerializeToString(deterministic=True)


def check_item(item: Item) -> None:
    """Check every bound of an item (docs/architecture.md: contracts). Raises BadRecord."""
    check_stored_item(item)
    check_times(item)


def check_stored_item(item: Item) -> None:
    """Check the bounds of an item that was taken before, when any time was. Raises BadRecord."""
    check_terms(item)
    bounds.check_text("title", item.title, TITLE_BYTES)
    bounds.check_text("description", item.description, DESCRIPTION_BYTES)
    bounds.check_ids("categories", item.categories, CATEGORIES)
    bounds.check_ids("tags", item.tags, TAGS)
    check_attributes(item.attributes)
    if item.image_bytes is not None and item.image_uri is not None:
        bounds.refuse("image", "image_bytes or image_uri", "both")
    if item.image_bytes is not None and len(item.image_bytes) > bounds.IMAGE_BYTES:
        bounds.refuse(
            "image_bytes", f"at most {bounds.IMAGE_BYTES} bytes", f"{len(item.image_bytes)}"
        )
    if item.image_uri is not None:
        bounds.check_id("image_uri", item.image_uri, IMAGE_URI_BYTES)


def check_attributes(attributes: Mapping[str, Attribute]) -> None:
    """Check the attributes of an item or a user. Raises BadRecord."""
    if len(attributes) > ATTRIBUTES:
        bounds.refuse("attributes", f"at most {ATTRIBUTES}", f"{len(attributes)}")
    for name, attribute in attributes.items():
        bounds.check_id("a name in attributes", name)
        if isinstance(attribute, str):
            bounds.check_text(f"attributes.{name}", attribute, ATTRIBUTE_BYTES)
        else:
            bounds.check_finite(f"attributes.{name}", attribute)


def item_message(item: Item) -> item_pb2.Item:
    """Return an item as a protobuf message, for gRPC and item vectors. Checks nothing."""
    fields = present(item)
    fields["attributes"] = attribute_messages(item.attributes)
    return item_pb2.Item(**fields)


def attribute_messages(attributes: Mapping[str, Attribute]) -> dict[str, item_pb2.Attribute]:
    """Return attributes as protobuf messages, by name. Checks nothing."""
    return {name: attribute_message(value) for name, value in attributes.items()}


def attribute_message(value: Attribute) -> item_pb2.Attribute:
    """Return one attribute's value as a protobuf message. Checks nothing."""
    if isinstance(value, bool):  # before numbers: a bool is an int in Python
        return item_pb2.Attribute(flag=value)
    if isinstance(value, str):
        return item_pb2.Attribute(text=value)
    return item_pb2.Attribute(number=value)


def item_of_message(message: item_pb2.Item) -> Item:
    """Return the item in a protobuf message. Checks nothing."""
    return Item(
        **offer_fields(message),
        title=message.title,
        description=message.description,
        categories=tuple(message.categories),
        tags=tuple(message.tags),
        attributes=attributes_of(message.attributes),
        image_bytes=message.image_bytes if message.HasField("image_bytes") else None,
        image_uri=message.image_uri if message.HasField("image_uri") else None,
        created_ms=message.created_ms if message.HasField("created_ms") else None,
    )


def _from_protobuf(value: bytes) -> Item:
    return item_of_message(item_pb2.Item.FromString(value))


def attributes_of(messages: Mapping[str, item_pb2.Attribute]) -> dict[str, Attribute]:
    """Return the attributes in protobuf messages, without those of a kind from the future."""
    return {
        name: attribute
        for name in messages
        if (attribute := _attribute_of(messages[name])) is not None
    }


def _attribute_of(message: item_pb2.Attribute) -> Attribute | None:
    """Return an attribute's value; None where a newer producer used a kind unknown here."""
    kind = message.WhichOneof("value")
    return None if kind is None else getattr(message, kind)
