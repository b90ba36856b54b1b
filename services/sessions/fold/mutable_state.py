"""One user's state while events are applied to it, one after the other. Pure.

The order of the checks is the meaning of the fold: guard, forget, event id, history, exclusions
(services/sessions/README.md says it as a table).
"""

from __future__ import annotations

from typing import Final

import msgspec

from services.sessions.fold import history
from services.sessions.fold.event_columns import Columns
from shared.users.event_types import DISLIKE, FORGET, HIDE, PURCHASE
from shared.users.states import EXCLUSIONS_AT_MOST, UserState, Vectors

_EXCLUDING: Final = frozenset({HIDE, DISLIKE, PURCHASE})
_EXCLUSIONS_BYTES: Final = 8 * EXCLUSIONS_AT_MOST


# What became of an event. Plain numbers: an enum's members cost as much as the rest of the loop.
APPLIED: Final = 0  # newest of the history
LATE: Final = 1  # put into the history before newer events
TOO_OLD: Final = 2  # older than a full history reaches: counts for trending alone
REPEATED: Final = 3  # its event id stands in the history: changed nothing
FORGOTTEN: Final = 4  # not later than the user's forget: changed nothing
FORGOT: Final = 5  # a forget: emptied the state, unless a later one had
COVERED: Final = 6  # redelivered, the guard has it: changed nothing
EFFECTS: Final = ("applied", "late", "too_old", "repeated", "forgotten", "forgot", "covered")


class OpenState(msgspec.Struct, gc=False):
    """A user's state, open for events. All effects but COVERED move the guard."""

    guard: dict[int, int]
    forgotten_at_ms: int
    session_hash: int
    history: bytes
    excluded: bytes
    purchased: bytes
    newest_s: int  # second of the newest entry
    place: int = 0  # of the entry that was put into the history last, in bytes

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

    def apply(self, batch: Columns, number: int) -> int:
        """Apply one event of a batch and return what became of it."""
        partition, offset = batch.partitions[number], batch.offsets[number]
        if offset <= self.guard.get(partition, -1):
            return COVERED
        self.guard[partition] = offset
        code = batch.codes[number]
        if code == FORGET:
            self._forget(batch.record_ms[number])
            return FORGOT
        if self.forgotten_at_ms and batch.counts_from_ms[number] <= self.forgotten_at_ms:
            return FORGOTTEN
        event_hash = batch.event_hashes[number]
        if event_hash and history.holds_event(self.history, event_hash):
            return REPEATED
        return self._enter(batch, number, code)

    def _enter(self, batch: Columns, number: int, code: int) -> int:
        """Put an event into the history and, if it stays there, into the exclusions."""
        second, session = batch.seconds[number], batch.session_hashes[number]
        if second >= self.newest_s:
            effect = APPLIED
            self.newest_s = second
            starts = session != self.session_hash and session != 0
            if starts:
                self.session_hash = session
            self.history, self.place = history.append(self.history, batch.entry(number, starts))
        else:
            entry = batch.entry(number, False)
            self.history, self.place = history.insert(self.history, entry, second)
            if self.place < 0:
                return TOO_OLD
            effect = LATE
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
    while at > 0 and at % 8:  # found across two keys
        at = held.find(key, at + 1)
    if at >= 0:
        held = held[:at] + held[at + 8 :]
    return (held + key)[-_EXCLUSIONS_BYTES:]
