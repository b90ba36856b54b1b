"""What others did: items with decayed weights, as co-visits and trending keep them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Weighted(NamedTuple):
    """Items with log2 weights, the heaviest first."""

    keys: NDArray[np.uint64]  # (m,) item keys
    scores: NDArray[np.float64]  # (m,) log2 weights (shared/log2_weights.py)


NONE: Final = Weighted(np.empty(0, np.uint64), np.empty(0, np.float64))


class Signals(NamedTuple):
    """All that a list takes from others' behaviour."""

    covisits: Mapping[int, Weighted]  # item key → items that followed it
    trending: Mapping[str, Weighted]  # scope → its trending items


NO_SIGNALS: Final = Signals({}, {})


def of_members(members: Sequence[bytes], scores: Sequence[float]) -> Weighted:
    """Read a sorted set's members, 8-byte big-endian item keys, with their scores.

    What is no item key is left out: a foreign member must not stop a list.
    """
    if not members:
        return NONE
    if set(map(len, members)) != {8}:
        pairs = [pair for pair in zip(members, scores, strict=True) if len(pair[0]) == 8]
        return of_members([member for member, _ in pairs], [score for _, score in pairs])
    keys = np.frombuffer(b"".join(members), ">u8").astype(np.uint64)
    return Weighted(keys, np.array(scores, np.float64))
