"""Item vectors: what reaches the catalogue is finite, of unit length and about one item."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.items import Item
from freshet.contract.records import UNDECODABLE, BadRecord
from freshet.v1 import vector_pb2
from shared.catalogue.item_vectors import ItemVector, decode_item_vector, encode_item_vector

NONE = np.empty(0, np.float16)
GOOD = ItemVector(
    item_id="lamp",
    space="day-zero",
    vector=np.array([0.6, 0.8], np.float16),
    image_vector=NONE,
    text_vector=np.array([1, 0, 0], np.float16),
    content_hash=b"0123456789abcdef",
    item=Item(item_id="lamp", title="Lamp"),
    version=5,
    arrived_ms=6,
    encoded_ms=7,
    picture_missing="bad-picture: it is cut off",
    tower_vector=np.array([0, 1], np.float16),
)


def halves(*numbers: float) -> bytes:
    return np.array(numbers, np.float16).tobytes()


def test_an_item_vector_comes_back_as_it_was() -> None:
    decoded = decode_item_vector(encode_item_vector(GOOD))
    for name in ItemVector.__struct_fields__:
        np.testing.assert_array_equal(getattr(decoded, name), getattr(GOOD, name))


@pytest.mark.parametrize("dim", [1, 64, 128, 4096])
def test_unit_vectors_of_any_size_pass_after_rounding_to_float16(dim: int) -> None:
    vector = np.random.default_rng(dim).normal(size=dim)
    unit = (vector / np.linalg.norm(vector)).astype(np.float16)
    decoded = decode_item_vector(encode_item_vector(msgspec.structs.replace(GOOD, vector=unit)))
    np.testing.assert_array_equal(decoded.vector, unit)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"item_id": ""}, "item_id must be 1-128 bytes"),
        ({"space": ""}, "space must be 1-128 bytes"),
        ({"vector": b""}, "vector must be 1-4096 numbers, was empty"),
        ({"vector": b"123"}, "vector must be float16, two bytes a number, was 3 bytes"),
        ({"vector": halves(*[0.0155] * 4097)}, "vector must be at most 4096 numbers, was 4097"),
        ({"vector": halves(0, 0)}, "vector must be of unit length, was 0"),
        ({"tower_vector": halves(1, 1)}, "tower_vector must be of unit length, was 1.41"),
        ({"tower_vector": b"123"}, "tower_vector must be float16, two bytes a number"),
        ({"vector": halves(1, 1)}, "vector must be of unit length, was 1.41"),
        ({"vector": halves(np.nan, 1)}, "vector must be finite numbers"),
        ({"vector": halves(np.inf, 1)}, "vector must be finite numbers"),
        ({"image_vector": halves(np.nan)}, "image_vector must be finite numbers"),
        ({"text_vector": b"\x01\x7c"}, "text_vector must be finite numbers"),  # a signalling NaN
        ({"text_vector": halves(-np.inf)}, "text_vector must be finite numbers"),
        ({"content_hash": bytes(65)}, "content_hash must be at most 64 bytes, was 65"),
        ({"version": -1}, "version must be between 0"),
        ({"arrived_ms": -1}, "arrived_ms must be between 0"),
        ({"encoded_ms": -1}, "encoded_ms must be between 0"),
        ({"picture_missing": "ü" * 129}, "picture_missing must be at most 256 bytes, was 258"),
        ({"item": {"item_id": "chair"}}, "item.item_id must be the item_id beside it, was 'chair'"),
        ({"item": {"item_id": "lamp", "image_bytes": b"x"}}, "item.image_bytes must be absent"),
        ({"item": {"item_id": "lamp", "price": -1}}, "price must be 0 or more"),
    ],
)
def test_what_no_reader_could_use_is_refused(changes: dict[str, Any], words: str) -> None:
    message = vector_pb2.ItemVector.FromString(encode_item_vector(GOOD))
    for name, value in changes.items():
        if name == "item":
            message.item.Clear()
            message.item.MergeFrom(type(message.item)(**value))
        else:
            setattr(message, name, value)
    with pytest.raises(BadRecord) as caught:
        decode_item_vector(message.SerializeToString())
    assert words in str(caught.value)


def test_a_bad_vector_is_not_encoded_either() -> None:
    zero = np.zeros(2, np.float16)
    with pytest.raises(BadRecord, match="vector must be of unit length"):
        encode_item_vector(msgspec.structs.replace(GOOD, vector=zero))


@given(st.data())
def test_damaged_item_vectors_are_good_or_refused(data: st.DataObject) -> None:
    value = bytearray(encode_item_vector(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_item_vector(bytes(value))
    except BadRecord:
        return
    assert np.isfinite(decoded.vector).all()


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(BadRecord, match="^not an item vector: ") as caught:
        decode_item_vector(b"\xff\xff\xff")
    assert caught.value.error_class == UNDECODABLE
