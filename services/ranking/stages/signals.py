"""Hold what others did: items with decayed weights, as co-visits and trending keep them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

COVISITS_READ: Final = 100  # followers of an item: the strongest, of at most 200
ALL_AT_MOST: Final = 1_000  # of trending for all, and of popularity
SCOPE_AT_MOST: Final = 60  # of a category or segment; a list takes 40 of them


class Weighted(NamedTuple):
    """Items with log2 weights, the heaviest first."""

    keys: NDArray[np.uint64]  # (m,) item keys
    scores: NDArray[np.float64]  # (m,) log2 weights (shared/users/log2_weights.py)


NONE: Final = Weighted(np.empty(0, np.uint64), np.empty(0, np.float64))


class Signals(NamedTuple):
    """All that a list takes from others' behaviour."""

    covisits: Mapping[int, Weighted]  # item key → items that followed it
    trending: Mapping[str, Weighted]  # scope → its trending items


NO_SIGNALS: Final = Signals({}, {})


def equal(one: Weighted, other: Weighted) -> bool:
    """Say whether both are the same items with the same weights in the same order."""
    return all(map(np.array_equal, one, other))


def of_replies(replies: Sequence[list[Any]]) -> list[Weighted]:
    """Read replies of ZRANGE WITHSCORES, all in one go: members are 8-byte big-endian item keys.

    Members and scores come by turns in RESP2, as pairs in RESP3. What is no item key is left out:
    a foreign member must not stop a list.
    """
    members: list[bytes] = []
    scores: list[bytes | float] = []
    ends = []
    for reply in replies:
        by_turns = list(chain(*reply)) if reply and isinstance(reply[0], list) else reply
        named, weighed = by_turns[::2], by_turns[1::2]
        if set(map(len, named)) - {8}:
            weighed = [score for name, score in zip(named, weighed, strict=True) if len(name) == 8]
            named = [name for name in named if len(name) == 8]
        members += named
        scores += weighed
        ends.append(len(members))
    keys = np.frombuffer(b"".join(members), ">u8").astype(np.uint64)
    weights = np.fromiter(map(float, scores), np.float64, len(scores))
    return [Weighted(keys[begin:end], weights[begin:end]) for begin, end in pairwise([0, *ends])]
