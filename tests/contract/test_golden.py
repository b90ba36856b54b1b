"""The golden files: bytes that other languages' producers and consumers may rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from freshet.contract.events import Event, decode_event, encode_event
from freshet.contract.items import Item, decode_item, encode_item
from freshet.contract.offers import Offer, decode_offer, encode_offer
from freshet.contract.records import JSON, PROTOBUF
from freshet.contract.users import User, decode_user, encode_user
from freshet.v1 import impression_pb2, vector_pb2
from shared.catalogue.item_vectors import decode_item_vector, encode_item_vector

GOLDEN = Path(__file__).parents[2] / "protos" / "golden"

EVENT = Event(
    user_id="ana",
    item_id="lamp-042",
    type="rate",
    time_ms=1_788_220_800_123,
    session_id="s-7f3a",
    request_id="r-91c2",
    event_id="e-0001",
    position=3,
    value=4.5,
    context={"segment": "日本", "device": "phone"},
)
RED_AND_BLUE = bytes.fromhex(  # a PNG of 2 x 2 pixels
    "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a730000001149"
    "444154789c6338a1a101440c60f204001eae04613d7ce3cb0000000049454e44ae426082"
)
ITEM = Item(
    item_id="lamp-042",
    title="Reading lamp “Søndag”",
    description="Warm light,\nbrass arm.",
    categories=("home", "home/lamps"),
    tags=("brass", "warm"),
    attributes={"watts": 7.5, "finish": "brass", "dimmable": True},
    price=39.9,
    currency="EUR",
    in_stock=False,
    available_from_ms=1_788_220_800_000,
    available_until_ms=1_790_812_800_000,
    image_bytes=RED_AND_BLUE,
    updated_ms=1_788_220_799_000,
    created_ms=1_788_134_400_000,
)
OFFER = Offer(
    item_id="lamp-042",
    price=0.0,
    currency="EUR",
    in_stock=True,
    available_from_ms=0,
    available_until_ms=1_790_812_800_000,
    updated_ms=1_788_220_900_000,
)
USER = User(
    user_id="ana",
    country="JP",
    language="ja",
    segments=("日本", "vip"),
    attributes={"age": "25-34", "orders": 12.0, "newsletter": True},
    updated_ms=1_788_220_799_000,
)
ITEM_BY_URI = Item(
    item_id="lamp-043", title="Desk lamp", image_uri="https://images.example.org/lamp-043.jpg"
)

CODECS: dict[str, tuple[Any, Any, Any]] = {
    "event": (decode_event, encode_event, EVENT),
    "event_forget": (decode_event, encode_event, Event(user_id="ana", type="forget")),
    "item": (decode_item, encode_item, ITEM),
    "item_uri": (decode_item, encode_item, ITEM_BY_URI),
    "offer": (decode_offer, encode_offer, OFFER),
    "user": (decode_user, encode_user, USER),
}


@pytest.mark.parametrize("name", CODECS)
def test_both_golden_encodings_decode_to_the_documented_value(name: str) -> None:
    decode, _, value = CODECS[name]
    assert decode((GOLDEN / f"{name}.json").read_bytes(), JSON) == value
    assert decode((GOLDEN / f"{name}.binpb").read_bytes(), PROTOBUF) == value


@pytest.mark.parametrize("name", CODECS)
def test_golden_values_are_encoded_again_to_the_same_bytes_from_either_encoding(name: str) -> None:
    decode, encode, _ = CODECS[name]
    texts = {JSON: GOLDEN / f"{name}.json", PROTOBUF: GOLDEN / f"{name}.binpb"}
    for source in texts:
        value = decode(texts[source].read_bytes(), source)
        for target, path in texts.items():
            assert encode(value, target) == path.read_bytes()


def test_golden_item_vector_decodes_to_float16_and_is_encoded_again_to_the_same_bytes() -> None:
    raw = (GOLDEN / "item_vector.binpb").read_bytes()
    decoded = decode_item_vector(raw)
    assert decoded.vector.dtype == np.float16
    assert decoded.vector.tolist() == [0.5, -0.5, 0.5, 0.5]
    assert decoded.image_vector.tolist() == [1.0, 0.0]
    assert decoded.item.title == ITEM.title
    assert decoded.item.image_bytes is None
    assert decoded.version == 1_788_220_799_000
    assert encode_item_vector(decoded) == raw


def test_golden_item_vector_says_why_its_picture_is_missing() -> None:
    raw = (GOLDEN / "item_vector_picture_missing.binpb").read_bytes()
    decoded = decode_item_vector(raw)
    assert decoded.picture_missing.startswith("picture-not-fetched: ")
    assert decoded.image_vector.size == 0
    assert encode_item_vector(decoded) == raw


def test_golden_item_vector_of_a_trained_bundle_has_a_vector_of_its_tower() -> None:
    raw = (GOLDEN / "item_vector_tower.binpb").read_bytes()
    decoded = decode_item_vector(raw)
    assert decoded.tower_vector.tolist() == [0.0, -1.0]
    assert encode_item_vector(decoded) == raw


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("item_vector_tower", vector_pb2.ItemVector),
        ("item_vector", vector_pb2.ItemVector),
        ("item_vector_picture_missing", vector_pb2.ItemVector),
        ("impression", impression_pb2.Impression),
    ],
)
def test_messages_of_the_services_are_the_same_in_canonical_json_and_binary(
    name: str, message: Any
) -> None:
    raw = (GOLDEN / f"{name}.binpb").read_bytes()
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    decoded = json_format.Parse(text, message())
    assert decoded == message.FromString(raw)
    assert decoded.SerializeToString(deterministic=True) == raw
    written = json_format.MessageToJson(
        decoded,
        preserving_proto_field_name=True,
        sort_keys=True,
        ensure_ascii=False,
        indent=2,
    )
    assert written == text
