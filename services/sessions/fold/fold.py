"""Fold events into states, co-visits and trending. Pure and total: the same live and offline.

    state, covisits, trends = fold(state, events, items, settings)

folds one user's events in the order given: `fold(fold(s, a), b) == fold(s, a + b)` bit for bit with
the same items. `fold_many` does that for each of many users at once, and cuts what has to be
written into chunks. What each kind of event does stands in services/sessions/README.md, and as
plain code, one event at a time, in tests/unit/sessions/fold/plain_fold.py: read that first. Tests
compare the two; this one is some forty times as fast.

A batch goes through three steps: numpy prepares all events (event_columns.py), they are applied one
after the other to the bytes of their users' states (mutable_state.py), and numpy computes from the
histories what follows: co-visits and trending (increments.py), vectors
(shared/users/session_vectors.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from services.sessions.fold.event_columns import EventColumns, FoldEvent
from services.sessions.fold.increments import (
    Covisits,
    Member,
    Trends,
    Visits,
    covisits_of,
    merge,
    trends_of,
)
from services.sessions.fold.mutable_state import COVERED, EFFECTS, LATE, MutableUserState
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.catalogue import Items
from shared.users.log2_weights import NEVER
from shared.users.session_vectors import marked, session_vectors
from shared.users.states import UserState, empty

__all__ = ["FoldEvent", "Folded", "FoldedChunk", "StateChange", "fold", "fold_many"]


class StateChange(msgspec.Struct, frozen=True, gc=False):
    """One user's change within a chunk: from the state whose guard is expected to the new one."""

    user_id: str
    before: UserState
    after: UserState


@dataclass(slots=True)
class FoldedChunk:
    """States with the increments that they cause: written in one script, or not at all."""

    changes: list[StateChange] = field(default_factory=list)
    covisits: Covisits = field(default_factory=dict)
    trends: Trends = field(default_factory=dict)
    events: int = 0  # that moved a guard
    dropped: int = 0  # items that full lists of exclusions let go


@dataclass(slots=True)
class Folded:
    """What a batch changes, in chunks to be written in order.

    A user whose events a chunk's end parts has a change in each chunk, the second one's `before`
    being the first one's `after`.
    """

    chunks: list[FoldedChunk]
    effects: dict[str, int]  # events by what became of them, see mutable_state.EFFECTS

    @property
    def states(self) -> dict[str, UserState]:
        """The last state of each user that changed."""
        return {change.user_id: change.after for chunk in self.chunks for change in chunk.changes}

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
    of_user: dict[str, list[int]] = {}
    for number, record in enumerate(events):
        of_user.setdefault(record.event.user_id, []).append(number)
    batch = BatchFold(EventColumns(events, items, settings), settings)
    before = [states.get(user_id) or empty() for user_id in of_user]
    histories = marked([state.history_bytes for state in before], items)
    for (user_id, numbers), state, history in zip(of_user.items(), before, histories, strict=True):
        batch.apply(user_id, state, history, numbers)
    return batch.close(items)


@dataclass(slots=True)
class ChunkBuilder:
    """A chunk before anything is computed from its histories."""

    room: int  # for increments
    # User, state before (None: what the change before this one leaves), state after.
    users: list[tuple[str, UserState | None, MutableUserState]] = field(default_factory=list)
    visits: Visits = field(default_factory=Visits)
    events: int = 0
    dropped: int = 0


class BatchFold:
    """A batch while its events are applied; `close` computes what follows from them."""

    def __init__(self, events: EventColumns, settings: FoldSettings) -> None:
        self._events, self._settings = events, settings
        self._effects = [0] * len(EFFECTS)
        self._chunks = [ChunkBuilder(settings.chunk_increments)]

    def apply(
        self, user_id: str, before: UserState, history: bytes, numbers: Sequence[int]
    ) -> None:
        """Apply one user's events, going on in a new chunk where one is full.

        history: the state's, marked by what the catalogue knows now.
        """
        events, settings, chunk = self._events, self._settings, self._chunks[-1]
        state = MutableUserState.of(before, history)
        start: UserState | None = before
        visits, events_before = chunk.visits, chunk.events
        for number in numbers:
            effect = state.apply(events, number)
            self._effects[effect] += 1
            if effect == COVERED:
                continue
            chunk.events += 1
            if effect <= LATE and events.visits[number]:
                visits.numbers.append(number)
                visits.counted.append(state.counted)
                visits.spans_s.append(state.span_s(events.history_bytes))
                if state.counted == NEVER:
                    visits.firsts.append(number)
                    visits.histories.append(state.history)
                    visits.byte_offsets.append(state.byte_offset)
                chunk.room -= events.increments[number]
            if chunk.room <= 0 or chunk.events >= settings.chunk_events:
                chunk.users.append((user_id, start, state.copy()))
                chunk = ChunkBuilder(settings.chunk_increments)
                self._chunks.append(chunk)
                visits, events_before, start = chunk.visits, 0, None
        chunk.dropped += state.dropped
        if chunk.events > events_before:
            chunk.users.append((user_id, start, state))

    def close(self, items: Items) -> Folded:
        """Compute vectors, co-visits and trends, for all users at once."""
        if not self._chunks[-1].events:
            self._chunks.pop()
        events, settings = self._events, self._settings
        histories = [state.history for chunk in self._chunks for _, _, state in chunk.users]
        vectors = iter(session_vectors(histories, items, settings.vectors))
        visits = [chunk.visits for chunk in self._chunks]
        covisits = covisits_of(events, visits, settings)
        trending = trends_of(events, visits, settings.half_lives)
        chunks, after = [], empty()
        for chunk, followed, trends in zip(self._chunks, covisits, trending, strict=True):
            changes = []
            for user_id, start, state in chunk.users:
                before = start or after
                after = state.close(next(vectors))
                changes.append(StateChange(user_id, before, after))
            chunks.append(FoldedChunk(changes, followed, trends, chunk.events, chunk.dropped))
        return Folded(chunks, dict(zip(EFFECTS, self._effects, strict=True)))


def _merged(parts: Sequence[Mapping[Member, float]]) -> dict[Member, float]:
    whole: dict[Member, float] = {}
    for part in parts:
        merge(whole, part)
    return whole
