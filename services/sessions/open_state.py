"""One user's state while events are applied to it, one after the other. Pure.

The order of the checks is the meaning of the fold: guard, forget, time, event id, history,
exclusions, increments (services/sessions/README.md says it as a table).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct, pack, unpack
from typing import Final

import msgspec

from services.sessions import history
from services.sessions.fold_settings import FoldSettings
from services.sessions.increments import SEGMENT, Covisits, Trends, add_covisits, add_trends
from shared import keys
from shared.event_types import DISLIKE, HIDE, OTHER, PURCHASE, RATE
from shared.events import FORGET, Event
from shared.states import (
    ENTRY_STRUCT,
    EXCLUSIONS_AT_MOST,
    HAS_VALUE,
    STARTS_SESSION,
    UserState,
    Vectors,
)

_LATEST_MS: Final = (2**32 - 1) * 1000  # in 2106: a history entry has 4 bytes for the second
_FLOAT16_MOST: Final = 65_504.0
_EXCLUSIONS_BYTES: Final = 8 * EXCLUSIONS_AT_MOST
_KEY: Final = Struct("<Q")


class FoldEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log.

    partition, offset: of the record that is read, which the guard goes by.
    record_time_ms: the record's time; of a replayed dead letter its origin's, and then
    `event.event_id` is the event's own or else the origin (`topic:partition:offset`), so that a
    letter replayed twice counts once.
    """

    event: Event
    partition: int
    offset: int
    record_time_ms: int


class Effect(IntEnum):
    """What became of an event."""

    APPLIED = 0  # newest of the history
    LATE = 1  # put into the history behind newer events
    TOO_OLD = 2  # older than a full history reaches: counted for trending alone
    REPEATED = 3  # its event id stands in the history: changed nothing
    FORGOTTEN = 4  # not later than the user's forget: changed nothing
    FORGET = 5  # emptied the state; nothing, if a later forget had
    COVERED = 6  # redelivered, the guard has it: changed nothing


class OpenState:
    """A user's state, open for events. All effects but COVERED move the guard."""

    __slots__ = (
        "excluded",
        "forgotten_at_ms",
        "guard",
        "history",
        "purchased",
        "session_hash",
    )

    def __init__(self, state: UserState) -> None:
        self.guard = dict(state.guard)
        self.forgotten_at_ms = state.forgotten_at_ms
        self.session_hash = state.session_hash
        self.history = state.history_bytes
        self.excluded = state.excluded_bytes
        self.purchased = state.purchased_bytes

    def with_vectors(self, vectors: Vectors) -> UserState:
        """Return the state as it stands now, with the vectors of its history."""
        return UserState(
            dict(self.guard),
            self.forgotten_at_ms,
            self.session_hash,
            self.history,
            self.excluded,
            self.purchased,
            vectors,
        )

    def apply(
        self,
        record: FoldEvent,
        item: int,
        scopes: Sequence[str],
        covisits: Covisits,
        trends: Trends,
        settings: FoldSettings,
    ) -> Effect:
        """Apply one event, adding what it counts for to co-visits and trends.

        item: key of the event's item; scopes: the trending scopes of the item.
        """
        if record.offset <= self.guard.get(record.partition, -1):
            return Effect.COVERED
        self.guard[record.partition] = record.offset
        event = record.event
        if event.type == FORGET:
            self._forget(record.record_time_ms)
            return Effect.FORGET
        time_ms = record.record_time_ms if event.time_ms is None else event.time_ms
        time_ms = max(0, min(time_ms, record.record_time_ms + settings.future_ms, _LATEST_MS))
        if self.forgotten_at_ms >= min(time_ms, record.record_time_ms):
            return Effect.FORGOTTEN
        event_hash = history.hash_of(event.event_id)
        if event_hash and history.holds_event(self.history, event_hash):
            return Effect.REPEATED

        weights = settings.vectors.weights
        code = weights.codes.get(event.type, OTHER)
        value, flags = (0.0, 0) if event.value is None else (_float16(event.value), HAS_VALUE)
        weight = weights.by_code[code]
        if code == RATE:
            weight = weights.rating(value) if flags else 0.0

        seconds = time_ms // 1000
        newest = seconds >= history.last_second(self.history)
        session = history.hash_of(event.session_id)
        if newest and session and session != self.session_hash:
            self.session_hash = session
            flags |= STARTS_SESSION
        entry = ENTRY_STRUCT.pack(item, seconds, event_hash, value, code, flags)
        self.history, at = history.insert(self.history, entry)
        kept = at >= 0
        if kept:
            self._exclude(code, item)
        if weight > 0:
            if kept:
                before = history.items_before(
                    self.history, at, item, settings.covisit_reach, weights
                )
                add_covisits(covisits, item, before, time_ms, settings.covisit_half_life_s)
            segment = event.context.get(SEGMENT)
            if segment:
                scopes = (*scopes, keys.segment_scope(segment))
            add_trends(trends, item, scopes, weight, time_ms, settings.trending_half_life_s)
        if newest:
            return Effect.APPLIED
        return Effect.LATE if kept else Effect.TOO_OLD

    def _forget(self, record_time_ms: int) -> None:
        """Empty all but the guard; an older forget than the last finds nothing left to empty."""
        if record_time_ms > self.forgotten_at_ms:
            self.forgotten_at_ms = record_time_ms
            self.session_hash = 0
            self.history = self.excluded = self.purchased = b""

    def _exclude(self, code: int, item: int) -> None:
        if code in (HIDE, DISLIKE):
            self.excluded = _with_key(self.excluded, item)
        elif code == PURCHASE:
            self.purchased = _with_key(self.purchased, item)


def _with_key(held: bytes, item: int) -> bytes:
    """Put an item key last in a list, once, dropping the oldest beyond the list's bound."""
    key = _KEY.pack(item)
    at = held.find(key)
    while at % 8 > 0:  # found across two keys
        at = held.find(key, at + 1)
    if at >= 0:
        held = held[:at] + held[at + 8 :]
    return (held + key)[-_EXCLUSIONS_BYTES:]


def _float16(value: float) -> float:
    """Round a value to what a history entry holds of it."""
    bounded = max(-_FLOAT16_MOST, min(_FLOAT16_MOST, value))
    rounded: float = unpack("<e", pack("<e", bounded))[0]
    return rounded
