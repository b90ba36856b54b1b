"""Say what of an item is encoded, so that unchanged content is known again by its hash. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from shared.catalogue.item_text import labels_of

NOTHING_TO_ENCODE: Final = "nothing-to-encode"
HASH_BYTES: Final = 16


def text_of(item: Item) -> str:
    """Return the text that stands for an item; empty if it has none.

    What is said of it comes first, because a text is cut at the encoder's token limit.
    """
    labels = labels_of(item.categories, item.tags, item.attributes)
    parts = (item.title, ", ".join(labels), item.description)
    return ". ".join(part.strip() for part in parts if part.strip())


def has_picture(item: Item) -> bool:
    """Say whether an item comes with a picture, inline or by reference."""
    return bool(item.image_bytes) or item.image_uri is not None


def content_hash(item: Item) -> bytes:
    """Hash what is encoded: the text, and the picture's bytes or where it lies.

    A picture that changes behind its address is not seen to change. Raises BadRecord if there is
    neither text nor picture.
    """
    text = text_of(item)
    if not text and not has_picture(item):
        raise BadRecord(
            NOTHING_TO_ENCODE,
            "an item must have a text (title, description, categories, tags or what attributes say)"
            " or a picture",
        )
    digest = blake2b(digest_size=HASH_BYTES)
    for part in (text.encode(), item.image_bytes or b"", (item.image_uri or "").encode()):
        digest.update(len(part).to_bytes(8, "big"))  # so that no part can pass for another
        digest.update(part)
    return digest.digest()
