"""Events → states, co-visits and trending. Pure and total: the same function runs live and offline.

    state, covisits, trends = fold(state, events, items, settings)

folds one user's events in the order given: `fold(fold(s, a), b) == fold(s, a + b)` bit for bit with
the same items. `fold_many` does that for each of many users at once, and cuts what has to be
written into chunks. What each kind of event does stands in services/sessions/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from services.sessions.fold_settings import FoldSettings
from services.sessions.increments import Covisits, Member, Trends, merge, scopes_of
from services.sessions.open_state import Effect, FoldEvent, OpenState
from shared import keys
from shared.session_vectors import Items, session_vectors
from shared.states import NO_VECTORS, UserState, empty

__all__ = ["Chunk", "Effect", "FoldEvent", "Folded", "Write", "fold", "fold_many"]

_item_key: Final = lru_cache(maxsize=200_000)(keys.item_key)  # hashing costs ten times the look-up


class Write(NamedTuple):
    """One user's change within a chunk: from the state whose guard is expected to the new one."""

    user_id: str
    before: UserState
    after: UserState


@dataclass(slots=True)
class Chunk:
    """States with the increments that they cause: written in one script, or not at all."""

    writes: list[Write] = field(default_factory=list)
    covisits: Covisits = field(default_factory=dict)
    trends: Trends = field(default_factory=dict)
    events: int = 0  # that moved a guard


@dataclass(slots=True)
class Folded:
    """What a batch changes, in chunks to be written in order.

    A user whose events a chunk's end parts has a write in each chunk, the second one's `before`
    being the first one's `after`.
    """

    chunks: list[Chunk]
    effects: dict[Effect, int]  # events by what became of them

    @property
    def states(self) -> dict[str, UserState]:
        """The last state of each user that changed."""
        return {write.user_id: write.after for chunk in self.chunks for write in chunk.writes}

    @property
    def covisits(self) -> Covisits:
        """The increments of all chunks together."""
        return _merged([chunk.covisits for chunk in self.chunks])

    @property
    def trends(self) -> Trends:
        """The increments of all chunks together."""
        return _merged([chunk.trends for chunk in self.chunks])


def fold(
    state: UserState, events: Sequence[FoldEvent], items: Items, settings: FoldSettings
) -> tuple[UserState, Covisits, Trends]:
    """Fold events of one user in this order, which for each partition is that of the offsets.

    Returns the state (the very same when the guard covers every event) and the log2 weights that
    co-visits and trending gain.
    """
    if not events:
        return state, {}, {}
    user_id = events[0].event.user_id
    folded = fold_many({user_id: state}, events, items, settings)
    return folded.states.get(user_id, state), folded.covisits, folded.trends


def fold_many(
    states: Mapping[str, UserState],
    events: Sequence[FoldEvent],
    items: Items,
    settings: FoldSettings,
) -> Folded:
    """Fold a batch: for each user what `fold` gives, in chunks of bounded work.

    states: of the batch's users; one that is absent is a new user's. A chunk holds at most
    `settings.chunk_events` events and stops after `settings.chunk_increments` increments.
    """
    batch = _Batch(events, items, settings)
    of_user: dict[str, list[int]] = {}
    for number, record in enumerate(events):
        of_user.setdefault(record.event.user_id, []).append(number)
    for user_id, numbers in of_user.items():
        batch.apply(user_id, OpenState(states.get(user_id) or empty()), numbers)
    return batch.close(states)


class _Batch:
    """The chunks of a batch while they fill up."""

    def __init__(self, events: Sequence[FoldEvent], items: Items, settings: FoldSettings) -> None:
        self._events, self._items, self._settings = events, items, settings
        self._keys = [_item_key(record.event.item_id) for record in events]
        rows = items.rows(np.array(self._keys, np.uint64)).tolist()
        known = {row: scopes_of(items.categories[row]) for row in set(rows) if row >= 0}
        known[-1] = scopes_of(())
        self._scopes = [known[row] for row in rows]
        self._effects = [0] * len(Effect)
        self._chunks = [Chunk()]
        self._changes: list[tuple[Chunk, str, UserState]] = []  # states still without vectors

    def apply(self, user_id: str, state: OpenState, numbers: Sequence[int]) -> None:
        """Apply one user's events, going on to a new chunk where one is full."""
        settings, chunk = self._settings, self._chunks[-1]
        before = chunk.events
        for number in numbers:
            effect = state.apply(
                self._events[number],
                self._keys[number],
                self._scopes[number],
                chunk.covisits,
                chunk.trends,
                settings,
            )
            self._effects[effect] += 1
            if effect is Effect.COVERED:
                continue
            chunk.events += 1
            if (
                chunk.events >= settings.chunk_events
                or len(chunk.covisits) + len(chunk.trends) >= settings.chunk_increments
            ):
                self._changes.append((chunk, user_id, state.with_vectors(NO_VECTORS)))
                chunk = Chunk()
                self._chunks.append(chunk)
                before = 0
        if chunk.events > before:
            self._changes.append((chunk, user_id, state.with_vectors(NO_VECTORS)))

    def close(self, states: Mapping[str, UserState]) -> Folded:
        """Compute all vectors at once and return the chunks."""
        vectors = session_vectors(
            [state.history_bytes for _, _, state in self._changes],
            self._items,
            self._settings.vectors,
        )
        last: dict[str, UserState] = {}
        for (chunk, user_id, state), found in zip(self._changes, vectors, strict=True):
            before = last.get(user_id) or states.get(user_id) or empty()
            after = UserState(
                state.guard,
                state.forgotten_at_ms,
                state.session_hash,
                state.history_bytes,
                state.excluded_bytes,
                state.purchased_bytes,
                found,
            )
            last[user_id] = after
            chunk.writes.append(Write(user_id, before, after))
        if not self._chunks[-1].writes:
            self._chunks.pop()
        return Folded(self._chunks, dict(zip(Effect, self._effects, strict=True)))


def _merged(parts: list[dict[Member, float]]) -> dict[Member, float]:
    whole = dict(parts[0]) if parts else {}
    for part in parts[1:]:
        merge(whole, part)
    return whole
