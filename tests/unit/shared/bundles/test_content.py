"""What is encoded of an item, and when it is known again."""

from __future__ import annotations

import msgspec
import pytest

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from shared.bundles.content import NOTHING_TO_ENCODE, content_hash, text_of

CHAIR = Item(
    item_id="a",
    title="Red chair",
    description="For long evenings.",
    categories=("Chairs",),
    tags=("red",),
    price=10.0,
    image_bytes=b"picture",
)


def test_text_says_first_what_matters_most() -> None:
    assert text_of(CHAIR) == "Red chair. Chairs, red. For long evenings."
    assert text_of(Item(item_id="a", description=" only this ")) == "only this"
    assert text_of(Item(item_id="a", title="  ")) == ""


def test_labels_and_what_attributes_say_in_words_are_text() -> None:
    item = Item(
        item_id="a",
        title="Rug",
        tags=("wool",),
        attributes={
            "colour": "red",
            "material": "Wool",  # said by the tag
            "hand_made": True,
            "washable": False,
            "width_cm": 140.0,
            "sku": "8472-11",
            "care": "Beat it on a line, and never in the rain, as our grandmothers did.",
        },
    )
    assert text_of(item) == "Rug. wool, red, hand made"


def test_numbers_of_attributes_are_no_content() -> None:
    sized = [msgspec.structs.replace(CHAIR, attributes={"width": w}) for w in (80.0, 90.0)]
    assert content_hash(sized[0]) == content_hash(sized[1]) == content_hash(CHAIR)


def test_price_stock_and_window_are_no_content() -> None:
    changed = msgspec.structs.replace(
        CHAIR, price=11.0, currency="EUR", in_stock=False, available_from_ms=5, updated_ms=7
    )
    assert content_hash(changed) == content_hash(CHAIR)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Blue chair"},
        {"description": ""},
        {"tags": ()},
        {"attributes": {"colour": "blue"}},
        {"image_bytes": b"another"},
        {"image_bytes": None},
        {"image_bytes": None, "image_uri": "picture"},
    ],
)
def test_any_change_of_text_or_picture_is_seen(change: dict[str, object]) -> None:
    assert content_hash(msgspec.structs.replace(CHAIR, **change)) != content_hash(CHAIR)


def test_text_cannot_pass_for_a_picture() -> None:
    text = Item(item_id="a", title="x")
    picture = Item(item_id="a", image_bytes=b"x")
    reference = Item(item_id="a", image_uri="x")
    assert len({content_hash(item) for item in (text, picture, reference)}) == 3


def test_item_with_neither_text_nor_picture_is_refused() -> None:
    for empty in (Item(item_id="a", price=3.0), Item(item_id="a", image_bytes=b"")):
        with pytest.raises(BadRecord, match="a text .* or a picture") as refused:
            content_hash(empty)
        assert refused.value.error_class == NOTHING_TO_ENCODE
