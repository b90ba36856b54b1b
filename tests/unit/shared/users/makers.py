"""States of readable parts, for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.users.states import (
    ENTRY,
    HISTORY_AT_MOST,
    KEYS_AT_MOST,
    NO_VECTORS,
    UserState,
    UserVectors,
)


def state_of(
    *,
    guard: Mapping[int, int] | None = None,
    forgotten_at_ms: int = 0,
    history: Sequence[tuple[float, ...]] | NDArray[np.void] = (),
    hidden: tuple[int, ...] = (),
    disliked: tuple[int, ...] = (),
    purchased: tuple[int, ...] = (),
    type_names: tuple[str, ...] = (),
    vectors: UserVectors = NO_VECTORS,
) -> UserState:
    """Build a state from readable parts.

    history: entries or tuples (item, seconds, event_id, value, type, flags), oldest first.
    Raises ValueError for what a state cannot hold.
    """
    entries = np.array(list(history), ENTRY)
    if len(entries) > HISTORY_AT_MOST:
        raise ValueError(f"a history has at most {HISTORY_AT_MOST} entries, was {len(entries)}")
    if (longest := max(len(hidden), len(disliked), len(purchased))) > KEYS_AT_MOST:
        raise ValueError(f"a list has at most {KEYS_AT_MOST} item keys, was {longest}")
    return UserState(
        guard=dict(guard or {}),
        forgotten_at_ms=forgotten_at_ms,
        history_bytes=entries.tobytes(),
        hidden_bytes=struct.pack(f"<{len(hidden)}Q", *hidden),
        disliked_bytes=struct.pack(f"<{len(disliked)}Q", *disliked),
        purchased_bytes=struct.pack(f"<{len(purchased)}Q", *purchased),
        type_names=type_names,
        vectors=vectors,
    )
