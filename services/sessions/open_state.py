"""One user's state while events are applied to it, one after the other. Pure.

The order of the checks is the meaning of the fold: guard, forget, event id, history, exclusions
(services/sessions/README.md says it as a table).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from services.sessions import history
from services.sessions.columns import Columns
from shared.event_types import DISLIKE, FORGET, HIDE, PURCHASE
from shared.states import EXCLUSIONS_AT_MOST, UserState, Vectors

_EXCLUDING: Final = frozenset({HIDE, DISLIKE, PURCHASE})
_EXCLUSIONS_BYTES: Final = 8 * EXCLUSIONS_AT_MOST


class Effect(IntEnum):
    """What became of an event."""

    APPLIED = 0  # newest of the history
    LATE = 1  # put into the history before newer events
    TOO_OLD = 2  # older than a full history reaches: counted for trending alone
    REPEATED = 3  # its event id stands in the history: changed nothing
    FORGOTTEN = 4  # not later than the user's forget: changed nothing
    FORGET = 5  # emptied the state; nothing, if a later forget had
    COVERED = 6  # redelivered, the guard has it: changed nothing


class OpenState(msgspec.Struct, gc=False):
    """A user's state, open for events. All effects but COVERED move the guard."""

    guard: dict[int, int]
    forgotten_at_ms: int
    session_hash: int
    history: bytes
    excluded: bytes
    purchased: bytes
    newest_s: int  # second of the newest entry
    # Of the event applied last: the history that holds it, and where, in bytes.
    at: int = 0

    @classmethod
    def of(cls, state: UserState) -> OpenState:
        """Open a state."""
        return cls(
            dict(state.guard),
            state.forgotten_at_ms,
            state.session_hash,
            state.history_bytes,
            state.excluded_bytes,
            state.purchased_bytes,
            history.newest_second(state.history_bytes),
        )

    def copy(self) -> OpenState:
        """Return the state as it stands, to be closed while this one goes on."""
        return msgspec.structs.replace(self, guard=dict(self.guard))

    def close(self, vectors: Vectors) -> UserState:
        """Return the state with the vectors of its history; this one must not be used again."""
        return UserState(
            self.guard,
            self.forgotten_at_ms,
            self.session_hash,
            self.history,
            self.excluded,
            self.purchased,
            vectors,
        )

    def apply(self, batch: Columns, number: int) -> Effect:
        """Apply one event of a batch."""
        partition, offset = batch.partitions[number], batch.offsets[number]
        if offset <= self.guard.get(partition, -1):
            return Effect.COVERED
        self.guard[partition] = offset
        code = batch.codes[number]
        if code == FORGET:
            self._forget(batch.record_ms[number])
            return Effect.FORGET
        if self.forgotten_at_ms and batch.counts_from_ms[number] <= self.forgotten_at_ms:
            return Effect.FORGOTTEN
        event_hash = batch.event_hashes[number]
        if event_hash and history.holds_event(self.history, event_hash):
            return Effect.REPEATED
        return self._enter(batch, number, code)

    def _enter(self, batch: Columns, number: int, code: int) -> Effect:
        """Put an event into the history and, if it stays there, into the exclusions."""
        second, session = batch.seconds[number], batch.session_hashes[number]
        if second >= self.newest_s:
            effect = Effect.APPLIED
            self.newest_s = second
            starts = session != self.session_hash and session != 0
            if starts:
                self.session_hash = session
            self.history, self.at = history.append(self.history, batch.entry(number, starts))
        else:
            self.history, self.at = history.insert(self.history, batch.entry(number, False), second)
            if self.at < 0:
                return Effect.TOO_OLD
            effect = Effect.LATE
        if code in _EXCLUDING:
            item = batch.item_keys[number]
            if code == PURCHASE:
                self.purchased = _with_key(self.purchased, item)
            else:
                self.excluded = _with_key(self.excluded, item)
        return effect

    def _forget(self, record_ms: int) -> None:
        """Empty all but the guard; after a later forget nothing is left to empty."""
        if record_ms > self.forgotten_at_ms:
            self.forgotten_at_ms = record_ms
            self.session_hash = self.newest_s = 0
            self.history = self.excluded = self.purchased = b""


def _with_key(held: bytes, item: int) -> bytes:
    """Put an item key last in a list, once, dropping the oldest beyond the list's bound."""
    key = item.to_bytes(8, "little")
    at = held.find(key)
    while at % 8:  # found across two keys
        at = held.find(key, at + 1)
    if at >= 0:
        held = held[:at] + held[at + 8 :]
    return (held + key)[-_EXCLUSIONS_BYTES:]
