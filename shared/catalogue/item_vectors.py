"""Decode and encode item vectors: encoded items, as embedding publishes them, in protobuf.

Legend: d numbers of the serving space; p, t of the picture's and the text's own parts.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from freshet.contract import bounds
from freshet.contract.items import Item, check_stored_item, item_message, item_of_message
from freshet.contract.records import UNDECODABLE, BadRecord, shorten
from freshet.v1 import vector_pb2

DIM_AT_MOST: Final = 4096
HASH_BYTES: Final = 64
PICTURE_MISSING_BYTES: Final = 256
LENGTH_TOLERANCE: Final = 0.02  # float16 has 11 bits: unit vectors of 4,096 numbers stay inside

Vector = NDArray[np.float16]
NO_VECTOR: Final[Vector] = np.empty(0, np.float16)


class ItemVector(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """An encoded item. Compared by identity, because arrays have no single truth value.

    vector: (d,) float16 of unit length, in `space`. image_vector, text_vector: the modality's own
    part, (p,) and (t,) float16, empty without the modality.
    item: as published, without its picture.
    picture_missing: why its picture could not be had, beginning with the error's class; then
    image_vector, if there is one, is of the last good picture. Empty: nothing is missing.
    tower_vector: float16 of unit length, in the space of the bundle's item tower; empty without.
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
    picture_missing: str = ""
    tower_vector: Vector = NO_VECTOR


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
        picture_missing=message.picture_missing,
        tower_vector=_vector("tower_vector", message.tower_vector),
    )
    check_stored_item(decoded.item)
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
        picture_missing=encoded.picture_missing,
        tower_vector=_bytes(encoded.tower_vector),
    ).SerializeToString(deterministic=True)


def check_item_vector(encoded: ItemVector) -> None:
    """Check what is not the item's own: ids, times and the vectors. Raises BadRecord."""
    bounds.check_id("item_id", encoded.item_id)
    bounds.check_id("space", encoded.space)
    if encoded.item.item_id != encoded.item_id:
        bounds.refuse("item.item_id", "the item_id beside it", shorten(encoded.item.item_id))
    if encoded.item.image_bytes is not None:
        bounds.refuse("item.image_bytes", "absent", f"{len(encoded.item.image_bytes)} bytes")
    if len(encoded.content_hash) > HASH_BYTES:
        size = len(encoded.content_hash)
        bounds.refuse("content_hash", f"at most {HASH_BYTES} bytes", f"{size}")
    bounds.check_stored_time("version", encoded.version)
    bounds.check_stored_time("arrived_ms", encoded.arrived_ms)
    bounds.check_stored_time("encoded_ms", encoded.encoded_ms)
    if (size := len(encoded.picture_missing.encode())) > PICTURE_MISSING_BYTES:
        bounds.refuse("picture_missing", f"at most {PICTURE_MISSING_BYTES} bytes", f"{size}")
    if not encoded.vector.size:
        bounds.refuse("vector", f"1-{DIM_AT_MOST} numbers", "empty")
    _check_unit("vector", encoded.vector)
    if encoded.tower_vector.size:
        _check_unit("tower_vector", encoded.tower_vector)
    _length("image_vector", encoded.image_vector)
    _length("text_vector", encoded.text_vector)


def _check_unit(field: str, vector: Vector) -> None:
    length = _length(field, vector)
    if abs(length - 1) > LENGTH_TOLERANCE:
        bounds.refuse(field, "of unit length", f"{length:.3g}")


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
