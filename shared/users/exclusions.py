"""Keep the lists of items that a user is not to be shown again: hidden, disliked, bought. Pure.

A list is the bytes of its item keys, 8 each, newest last, an item once. It is bounded, so that a
state stays small: beyond the bound the oldest fall off, and are shown again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from freshet.settings import setting
from shared.users.states import KEYS_AT_MOST, UserState

KEY_BYTES: Final = 8


@dataclass(frozen=True)
class ExclusionSettings:
    """How much the lists hold; ranking only says which of them are full."""

    at_most: int = setting(
        "FRESHET_EXCLUSIONS_AT_MOST",
        1_000,
        at_least=1,
        at_most=KEYS_AT_MOST,
        help="items in each of a user's lists (hidden, disliked, bought), 8 bytes each:"
        " beyond it the oldest is shown again",
    )

    def full(self, state: UserState) -> list[str]:
        """Name the lists from which the next item drops the oldest."""
        lists = {
            "hidden": state.hidden_bytes,
            "disliked": state.disliked_bytes,
            "purchased": state.purchased_bytes,
        }
        return [name for name, keys in lists.items() if len(keys) >= KEY_BYTES * self.at_most]


def without(keys: bytes, key: bytes) -> bytes:
    """Return a list that lacks an item key."""
    at = keys.find(key)
    while at > 0 and at % KEY_BYTES:  # found across two keys
        at = keys.find(key, at + 1)
    return keys if at < 0 else keys[:at] + keys[at + KEY_BYTES :]


def union(lists: Iterable[tuple[int, ...]]) -> bytes:
    """Return what any of the lists holds, each item once, however many there are."""
    keys = list(dict.fromkeys(key for one in lists for key in one))
    return struct.pack(f"<{len(keys)}Q", *keys)
