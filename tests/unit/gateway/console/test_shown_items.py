"""What items look like: as published last, with pictures while there is room for them."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from freshet.contract.items import Item, encode_item
from freshet.kafka_clients import KafkaSettings
from services.gateway.console.shown_items import ItemCard, ShownItems, media_type_of

JPEG = b"\xff\xd8\xff" + bytes(97)


def record(
    item_id: str, at_ms: int, item: Item | None, value: bytes | None = None
) -> ConsumerRecord:
    value = encode_item(item) if item is not None else value
    return ConsumerRecord(
        "items", 0, 0, at_ms, 0, item_id.encode(), value, None, len(item_id), 0, ()
    )


def shown(pictures_bytes: int = 1000) -> ShownItems:
    return ShownItems(KafkaSettings(), pictures_bytes)


def mug(title: str = "Mug", **fields: object) -> Item:
    return Item(item_id="mug", title=title, **fields)  # type: ignore[arg-type]


def test_a_card_says_what_was_published() -> None:
    items = shown()
    items.take([record("mug", 1, mug(price=18.0, currency="EUR", image_bytes=JPEG))])

    card = items.card("mug")
    assert (card.title, card.price, card.currency) == ("Mug", 18.0, "EUR")
    assert items.picture("mug") == (JPEG, "image/jpeg")
    assert card.picture


def test_an_unknown_item_has_an_empty_card() -> None:
    assert shown().card("none") == ItemCard("none")


def test_of_two_topics_the_later_record_counts_whichever_is_read_first() -> None:
    items = shown()
    items.take([record("mug", 20, mug("New"))])
    items.take([record("mug", 10, mug("Old"))])

    assert items.card("mug").title == "New"


def test_a_deleted_item_is_gone_and_an_older_record_does_not_bring_it_back() -> None:
    items = shown()
    items.take([record("mug", 1, mug(image_bytes=JPEG)), record("mug", 3, None)])
    items.take([record("mug", 2, mug())])

    assert items.card("mug") == ItemCard("mug")
    assert items.picture("mug") is None
    assert len(items) == 0


def test_beyond_their_room_the_first_pictures_go_and_the_cards_stay() -> None:
    items = shown(pictures_bytes=250)
    for number in range(3):
        one = Item(item_id=f"mug-{number}", title="Mug", image_bytes=JPEG)
        items.take([record(one.item_id, number + 1, one)])

    assert items.picture("mug-0") is None
    assert items.picture("mug-2") is not None
    assert items.card("mug-0").title == "Mug"


def test_what_is_no_item_is_passed_over() -> None:
    items = shown()
    items.take([record("mug", 1, None, b"{")])

    assert len(items) == 0


def test_media_types_are_told_by_how_pictures_begin() -> None:
    assert media_type_of(b"RIFF....WEBP") == "image/webp"
    assert media_type_of(b"\x89PNG....") == "image/png"
    assert media_type_of(b"\0\0\0 ftypavif") == "image/avif"
    assert media_type_of(b"<svg onload=alert(1)>") == "application/octet-stream"


def test_a_picture_that_stands_elsewhere_is_said_to_be_there() -> None:
    items = shown()
    items.take([record("mug", 1, mug(image_uri="https://shop.example/mug.jpg"))])

    card = items.card("mug")
    assert (card.picture, card.elsewhere) == ("", True)
