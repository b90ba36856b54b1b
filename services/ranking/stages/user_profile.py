"""Read a user's state as ranking asks for it: catalogue rows and vectors. Pure.

Legend: h entries of the history; i interests; d dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.float16 import to_float32
from shared.catalogue.catalogue import Catalogue
from shared.users import event_types, exclusions
from shared.users.event_types import EventWeights
from shared.users.session_vectors import VectorSettings, session_vectors
from shared.users.states import ENTRY, LACKS_VECTOR, NO_VECTORS, UserState

LIKED_AT_MOST: Final = 10
VISITED_AT_MOST: Final = 10  # the last items whose co-visits are read
CONTENT_OF: Final = 3  # the last items whose likes are sought
DISLIKED_AT_MOST: Final = 5
CATEGORIES_AT_MOST: Final = 3  # scopes of trending that a user opens
# A removal only takes back, and who rates low came all the same, and goes on to what is like it.
NO_DISLIKE: Final = frozenset({event_types.REMOVE, event_types.RATE})

Floats = NDArray[np.float32]


class LikedItem(NamedTuple):
    """An item that the user's history speaks for, by its last such event."""

    key: int
    row: int
    type: int  # shared/users/event_types.py


class UserProfile(NamedTuple):
    """A user as the ranker sees one; of an unknown user everything is empty."""

    liked: tuple[LikedItem, ...]  # the last distinct ones that the catalogue knows, newest first
    visited: tuple[int, ...]  # keys of the last distinct items, liked or not, newest first
    disliked: NDArray[np.int64]  # rows, newest first
    session: Floats  # (d,) unit, or zero where there is none
    long_term: Floats  # (d,)
    interests: Floats  # (i, d)
    categories: tuple[tuple[str, float], ...]  # the weightiest with their shares of 1
    chosen: NDArray[np.int64]  # rows of the events that speak for their item, oldest first
    history: NDArray[np.int64]  # rows of what stands, -1 where the catalogue does not know them
    hidden: NDArray[np.int64]  # rows of what was hidden or disliked, -1 likewise
    purchased: NDArray[np.int64]  # rows, -1 likewise
    last_event_s: int  # 0: no event
    mean_price_log: float  # mean log1p(price) of what is liked, NaN where no price is known

    @property
    def known(self) -> bool:
        """Whether any vector of the user's is there."""
        return bool(self.session.any() or self.long_term.any() or len(self.interests))


def merged(
    states: Sequence[UserState], catalogue: Catalogue, settings: VectorSettings
) -> UserState:
    """Return one state of several users' histories, with vectors in the space of `catalogue`."""
    if len(states) == 1:
        return completed(states[0], catalogue, settings)
    entries = np.concatenate([state.history for state in states])
    entries = entries[np.argsort(entries["seconds"], kind="stable")][-settings.history :]
    history = entries.tobytes()
    return UserState(
        history_bytes=history,
        hidden_bytes=exclusions.union(state.hidden for state in states),
        disliked_bytes=exclusions.union(state.disliked for state in states),
        purchased_bytes=exclusions.union(state.purchased for state in states),
        vectors=session_vectors([history], catalogue, settings)[0],
    )


def completed(state: UserState, catalogue: Catalogue, settings: VectorSettings) -> UserState:
    """Return a state whose vectors stand for all of its history that the catalogue knows.

    They are taken as they are, unless they belong to another space, or there are none, or they
    were computed before one of the items had come.
    """
    if not state.history_bytes:
        return state
    served = state.vectors.present and state.space == catalogue.space
    if served and not _knows_more(catalogue, state.history):
        return state
    (vectors,) = session_vectors([state.history_bytes], catalogue, settings)
    return msgspec.structs.replace(state, vectors=vectors)


def profile_of(
    state: UserState,
    catalogue: Catalogue,
    prices: NDArray[np.float64],  # by row, NaN where unknown
    settings: VectorSettings,
) -> UserProfile:
    """Read a state against a catalogue; items that it does not hold count for exclusion only."""
    history = state.history
    excluded = state.hidden_bytes + state.disliked_bytes
    if not (len(history) or excluded or state.purchased_bytes):
        return _nobody(catalogue.dim)
    keys = history["item"].tobytes() + excluded + state.purchased_bytes
    all_rows = catalogue.rows(np.frombuffer(keys, "<u8"))
    events, hidden_to = len(history), len(history) + len(excluded) // 8
    rows, hidden, purchased = all_rows[:events], all_rows[events:hidden_to], all_rows[hidden_to:]
    weights = settings.weights.of(history)
    weights[rows < 0] = 0
    liked, disliked = _by_weight(history, rows, weights)
    disliked += [row for row in hidden[: -DISLIKED_AT_MOST - 1 : -1].tolist() if row >= 0]
    vectors, dim = state.vectors, catalogue.dim
    usable = vectors.dim == dim and vectors.space == catalogue.space
    session, long_term, interests = (vectors if usable else NO_VECTORS).decoded()
    nothing = np.zeros(dim, np.float32)
    priced = np.log1p(prices[[like.row for like in liked]])
    priced = priced[np.isfinite(priced)]
    return UserProfile(
        liked=liked,
        visited=_visited(history, settings.weights),
        disliked=np.array(list(dict.fromkeys(disliked))[:DISLIKED_AT_MOST], np.int64),
        session=nothing if session is None else session,
        long_term=nothing if long_term is None else long_term,
        interests=interests if usable else np.empty((0, dim), np.float32),
        categories=_categories(catalogue, rows, weights),
        chosen=rows[weights > 0],
        history=rows[event_types.stands(history)],
        hidden=hidden,
        purchased=purchased,
        last_event_s=int(history["seconds"][-1]) if len(history) else 0,
        mean_price_log=float(priced.mean()) if len(priced) else float("nan"),
    )


@cache
def _nobody(dim: int) -> UserProfile:
    """Return the profile of a user of whom nothing is known."""
    nothing, none = np.zeros(dim, np.float32), np.empty(0, np.int64)
    interests = np.empty((0, dim), np.float32)
    return UserProfile(
        (), (), none, nothing, nothing, interests, (), none, none, none, none, 0, float("nan")
    )


def tower_history(chosen: NDArray[np.int64], vectors: NDArray[np.float16]) -> Floats:
    """Return what a session tower sees of rows that were chosen, oldest first: (n, t) of (c, t).

    An item's repeats in a row count once, and what has no tower vector not at all.
    """
    last = np.ones(len(chosen), np.bool_)  # of each run
    last[:-1] = chosen[1:] != chosen[:-1]
    seen = to_float32(vectors.take(chosen[last], axis=0))
    return seen[seen.any(axis=1)]


def _by_weight(
    history: NDArray[np.void], rows: NDArray[np.int64], weights: Floats
) -> tuple[tuple[LikedItem, ...], list[int]]:
    """Return the last distinct items that the history speaks for, and the rows it speaks against.

    An item's last event with a weight decides; those of NO_DISLIKE speak against nothing.
    """
    liked: list[LikedItem] = []
    disliked: list[int] = []
    decided: set[int] = set()
    events = zip(
        rows.tolist(),
        weights.tolist(),
        history["item"].tolist(),
        history["type"].tolist(),
        strict=True,
    )
    for row, weight, key, kind in reversed(list(events)):
        if weight == 0 or row in decided:
            continue
        decided.add(row)
        if weight > 0:
            if len(liked) < LIKED_AT_MOST:
                liked.append(LikedItem(key, row, kind))
        elif kind not in NO_DISLIKE:
            disliked.append(row)
    return tuple(liked), disliked


def _visited(history: NDArray[np.void], weights: EventWeights) -> tuple[int, ...]:
    """Return the last distinct items that the user came to and has not taken back or refused."""
    came = weights.visits(history)
    events = zip(
        history["item"].tolist(), came.tolist(), (weights.of(history) < 0).tolist(), strict=True
    )
    visited: dict[int, bool] = {}  # by an item's last event that says either
    for key, visit, refusal in reversed(list(events)):
        if visit or refusal:
            visited.setdefault(key, visit)
    return tuple([key for key, visit in visited.items() if visit][:VISITED_AT_MOST])


def _categories(
    catalogue: Catalogue, rows: NDArray[np.int64], weights: Floats
) -> tuple[tuple[str, float], ...]:
    """Return the categories with the largest shares of the history's positive weights."""
    # Items with the same categories are counted together. Few: no work for numpy.
    sums: dict[int, float] = {}
    row_of: dict[int, int] = {}
    liked = rows[weights > 0]  # the catalogue knows these: it may know no item at all
    sets = catalogue.category_sets.ids[liked]
    for number, row, weight in zip(
        sets.tolist(), liked.tolist(), weights[weights > 0].tolist(), strict=True
    ):
        sums[number] = sums.get(number, 0.0) + weight
        row_of[number] = row
    shares: dict[str, float] = {}
    for number, weight in sums.items():
        for name in catalogue.categories[row_of[number]]:
            shares[name] = shares.get(name, 0.0) + weight
    total = sum(sums.values())
    largest = sorted(shares.items(), key=lambda share: (-share[1], share[0]))
    return tuple((name, share / total) for name, share in largest[:CATEGORIES_AT_MOST])


def _knows_more(catalogue: Catalogue, history: NDArray[np.void]) -> bool:
    """Say whether an item is known now that had no vector when the history's were computed."""
    lacked = history["flags"] & LACKS_VECTOR != 0
    return bool(lacked.any() and (catalogue.rows(history["item"][lacked]) >= 0).any())


assert ENTRY.fields is not None  # `history["item"]` and the others are fields by name
