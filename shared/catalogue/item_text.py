"""Say in words what labels and attributes say of an item: what is encoded, and found by. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freshet.contract.items import Attribute

SHORT_TEXT: Final = 40  # characters; a longer value is no label but a description of its own


def labels_of(
    categories: Sequence[str], tags: Sequence[str], attributes: Mapping[str, Attribute]
) -> list[str]:
    """Return an item's categories, tags and what its attributes say, each text once.

    An attribute says its value where that is a short text with a letter in it, and its name where
    it is a flag that is set; numbers say nothing in words.
    """
    distinct: dict[str, str] = {}
    for text in (*categories, *tags, *map(_said, attributes, attributes.values())):
        if stripped := text.strip():
            distinct.setdefault(stripped.casefold(), stripped)
    return list(distinct.values())


def _said(name: str, value: Attribute) -> str:
    if value is True:
        return name.replace("_", " ")
    if isinstance(value, str) and len(value) <= SHORT_TEXT and any(map(str.isalpha, value)):
        return value
    return ""
