"""Apply events to one user's state, one after the other. Pure.

The order of the checks is the meaning of the fold: guard, forget, event id, history, exclusions and
undoing (services/sessions/README.md says it as a table).

A history stays the bytes of its entries, oldest first (shared/users/states.py: ENTRY): 1,000 of
them as a rule, so shifting it by an entry costs less than touching one entry's object would.
"""

from __future__ import annotations

from math import inf
from struct import Struct
from typing import Final

import msgspec
import numpy as np

from services.sessions.fold.event_columns import EventColumns
from shared.users.event_types import (
    DISLIKE,
    FORGET,
    HIDE,
    OTHER,
    PURCHASE,
    UNDOES,
    UNDONE,
    UNKNOWN,
)
from shared.users.exclusions import KEY_BYTES, without
from shared.users.log2_weights import NEVER
from shared.users.states import (
    ENTRY,
    ENTRY_BYTES,
    ENTRY_STRUCT,
    NAMES_AT_MOST,
    NEVER_COUNTED,
    REPEATS_VISIT,
    UserState,
    UserVectors,
)

_LISTS: Final = {HIDE: "hidden", DISLIKE: "disliked", PURCHASE: "purchased"}
_EVENT_ID_AT: Final = 12  # of an entry's bytes
_TYPE_AT: Final = 18
_FLAGS_AT: Final = 19
_OLDEST_SECOND_AT: Final = 8
_NEWEST_SECOND_AT: Final = -ENTRY_BYTES + 8  # from a history's end
_UINT: Final = Struct("<I")

# What became of an event. Plain numbers: an enum's members cost as much as the rest of the loop.
APPLIED: Final = 0  # newest of the history
LATE: Final = 1  # put into the history before newer events
TOO_OLD: Final = 2  # older than a full history reaches: changed nothing
REPEATED: Final = 3  # its event id stands in the history: changed nothing
FORGOTTEN: Final = 4  # not later than the user's forget: changed nothing
FORGOT: Final = 5  # a forget: emptied the state, unless a later one had
COVERED: Final = 6  # redelivered, the guard has it: changed nothing
EFFECTS: Final = ("applied", "late", "too_old", "repeated", "forgotten", "forgot", "covered")


class MutableUserState(msgspec.Struct, gc=False):
    """A user's state, open for events. All effects but COVERED move the guard."""

    guard: dict[int, int]
    forgotten_at_ms: int
    session_hash: int
    history: bytes
    hidden: bytes
    disliked: bytes
    purchased: bytes
    type_names: tuple[str, ...]
    newest_s: int  # second of the newest entry
    byte_offset: int = 0  # in the history, of the entry put into it last; negative: it fell out
    counted: float = NEVER  # weight of those that the last visit repeats; NEVER: it repeats none
    dropped: int = 0  # items that full lists let go since it was opened

    @classmethod
    def of(cls, state: UserState, history: bytes) -> MutableUserState:
        """Open a state; history: its own, marked by what the catalogue knows now."""
        return cls(
            dict(state.guard),
            state.forgotten_at_ms,
            state.session_hash,
            history,
            state.hidden_bytes,
            state.disliked_bytes,
            state.purchased_bytes,
            state.type_names,
            _newest_second(history),
        )

    def copy(self) -> MutableUserState:
        """Return the state as it stands, to be closed while this one goes on."""
        return msgspec.structs.replace(self, guard=dict(self.guard))

    def close(self, vectors: UserVectors) -> UserState:
        """Return the state with the vectors of its history; this one must not be used again."""
        return UserState(
            self.guard,
            self.forgotten_at_ms,
            self.session_hash,
            self.history,
            self.hidden,
            self.disliked,
            self.purchased,
            self.type_names,
            vectors,
        )

    def apply(self, events: EventColumns, number: int) -> int:
        """Apply one event of a batch and return what became of it."""
        partition, offset = events.partitions[number], events.offsets[number]
        if offset <= self.guard.get(partition, -1):
            return COVERED
        self.guard[partition] = offset
        code = events.codes[number]
        if code == FORGET:
            self._forget(events.record_ms[number])
            return FORGOT
        if self.forgotten_at_ms and events.counts_from_ms[number] <= self.forgotten_at_ms:
            return FORGOTTEN
        event_hash = events.event_hashes[number]
        if event_hash and _holds_event(self.history, event_hash):
            return REPEATED
        return self._enter(events, number, code)

    def _enter(self, events: EventColumns, number: int, code: int) -> int:
        """Put an event into the history and, if it stays there, let it exclude or undo."""
        second, session = events.seconds[number], events.session_hashes[number]
        before = self.history
        if second >= self.newest_s:
            effect = APPLIED
            self.newest_s = second
            starts = session != self.session_hash and session != 0
            if starts:
                self.session_hash = session
            entry = self._entry(events, number, code, starts)
            self.history, self.byte_offset = _append(self.history, entry, events.history_bytes)
        else:
            entry = self._entry(events, number, code, False)
            self.history, self.byte_offset = _insert(
                self.history, entry, second, events.history_bytes
            )
            effect = TOO_OLD if self.byte_offset < 0 else LATE
        if self.type_names:
            self._drop_unused_names()
        if effect != TOO_OLD:
            if events.visits[number]:
                self._note_repeated_visits(events, number, before, entry[:KEY_BYTES])
            if code in UNDOES:
                self._undo(entry[:KEY_BYTES], UNDOES[code])
            elif code in _LISTS:
                self._exclude(entry[:KEY_BYTES], code, events.exclusions_at_most)
        return effect

    def _note_repeated_visits(
        self, events: EventColumns, number: int, history: bytes, key: bytes
    ) -> None:
        """Note what visits to the item count already in the half-life of this one, or enough of it.

        history: as it was before this one. Half-lives follow each other without end, from 1970 on,
        so that who comes back again and again counts once in each.
        """
        self.counted = NEVER
        if key[0] not in history[::ENTRY_BYTES]:  # no entry shares even a byte
            return
        weight = float(events.weights[number])
        half_life = events.seconds[number] // events.half_life_s
        at = history.rfind(key)
        while at >= 0 and self.counted < weight:
            if at % ENTRY_BYTES == 0:
                _, second, _, value, code, flags = ENTRY_STRUCT.unpack_from(history, at)
                passed = second // events.half_life_s
                if passed < half_life:
                    break
                if passed == half_life and not flags & NEVER_COUNTED:
                    self.counted = max(self.counted, events.visit_weight(code, value, flags))
            at = history.rfind(key, 0, at + KEY_BYTES - 1)
        if self.counted != NEVER:
            at = self.byte_offset + _FLAGS_AT
            marked = bytes((self.history[at] | REPEATS_VISIT,))
            self.history = self.history[:at] + marked + self.history[at + 1 :]

    def span_s(self, history_bytes: int) -> float:
        """Return the seconds from the oldest entry of a full history to its newest, else inf."""
        if len(self.history) < history_bytes:
            return inf
        oldest: int = _UINT.unpack_from(self.history, _OLDEST_SECOND_AT)[0]
        return self.newest_s - oldest

    def _entry(self, events: EventColumns, number: int, code: int, starts: bool) -> bytes:
        """Return an event as an entry; one of a type that nobody weighs by its name's number.

        Beyond 64 such names at a time a type is OTHER.
        """
        entry = events.entry(number, starts)
        if code != OTHER:
            return entry
        name = events.type_name(number)
        if name not in self.type_names:
            if len(self.type_names) == NAMES_AT_MOST:  # only in a history that is longer than usual
                return entry
            self.type_names += (name,)
        return _typed(entry, 0, UNKNOWN + self.type_names.index(name))

    def _drop_unused_names(self) -> None:
        """Let go the names whose last entry left the history, and number the others anew."""
        types = self.history[_TYPE_AT::ENTRY_BYTES]
        used = [n for n in range(len(self.type_names)) if UNKNOWN + n in types]
        if len(used) == len(self.type_names):
            return
        self.type_names = tuple(self.type_names[n] for n in used)
        numbers = bytes.maketrans(
            bytes(UNKNOWN + n for n in used), bytes(range(UNKNOWN, UNKNOWN + len(used)))
        )
        history = bytearray(self.history)
        history[_TYPE_AT::ENTRY_BYTES] = types.translate(numbers)
        self.history = bytes(history)

    def _exclude(self, key: bytes, code: int, at_most: int) -> None:
        """Put an item on its type's list, unless a later event, which came before, undid it."""
        history, at = self.history, self.byte_offset
        for later in range(at + ENTRY_BYTES, len(history), ENTRY_BYTES):
            if (
                history[later : later + KEY_BYTES] == key
                and UNDOES.get(history[later + _TYPE_AT]) == code
            ):
                self.history = _typed(history, at, code + UNDONE)
                return
        name = _LISTS[code]
        longer = without(getattr(self, name), key) + key
        kept = longer[-KEY_BYTES * at_most :]
        self.dropped += (len(longer) - len(kept)) // KEY_BYTES
        setattr(self, name, kept)

    def _undo(self, key: bytes, code: int) -> None:
        """Undo an item's events of a type before this one, and take the item off their list.

        It stays there if a later event of the type, which came before, says so again.
        """
        said_later = False
        types = self.history[_TYPE_AT::ENTRY_BYTES]
        number = types.find(code)
        while number >= 0:
            at = number * ENTRY_BYTES
            if self.history[at : at + KEY_BYTES] == key:
                if at < self.byte_offset:
                    self.history = _typed(self.history, at, code + UNDONE)
                else:
                    said_later = True
            number = types.find(code, number + 1)
        if not said_later:
            name = _LISTS[code]
            setattr(self, name, without(getattr(self, name), key))

    def _forget(self, record_ms: int) -> None:
        """Empty all but the guard; after a later forget nothing is left to empty."""
        if record_ms > self.forgotten_at_ms:
            self.forgotten_at_ms = record_ms
            self.session_hash = self.newest_s = 0
            self.history = self.hidden = self.disliked = self.purchased = b""
            self.type_names = ()


def _newest_second(history: bytes) -> int:
    """Return the newest entry's second; 0 for an empty history."""
    if not history:
        return 0
    second: int = _UINT.unpack_from(history, len(history) + _NEWEST_SECOND_AT)[0]
    return second


def _holds_event(history: bytes, event_hash: int) -> bool:
    """Say whether an entry carries this hash of an event id."""
    if event_hash & 0xFF not in history[_EVENT_ID_AT::ENTRY_BYTES]:  # no entry shares even a byte
        return False
    packed = _UINT.pack(event_hash)
    at = history.find(packed)
    while at >= 0 and at % ENTRY_BYTES != _EVENT_ID_AT:
        at = history.find(packed, at + 1)
    return at >= 0


def _append(history: bytes, entry: bytes, at_most: int) -> tuple[bytes, int]:
    """Put an entry last, dropping the oldest beyond so many bytes.

    Returns the history and the entry's byte offset.
    """
    kept = (history + entry)[-at_most:]
    return kept, len(kept) - ENTRY_BYTES


def _insert(history: bytes, entry: bytes, second: int, at_most: int) -> tuple[bytes, int]:
    """Put an entry behind all that are not later, dropping the oldest beyond so many bytes.

    Returns the history and the entry's byte offset, negative when it is itself what was dropped:
    older than a full history reaches.
    """
    seconds = np.frombuffer(history, ENTRY)["seconds"]
    at = ENTRY_BYTES * int(seconds.searchsorted(second, side="right"))
    longer = history[:at] + entry + history[at:]
    dropped = max(len(longer) - at_most, 0)
    return longer[dropped:], at - dropped


def _typed(history: bytes, at: int, code: int) -> bytes:
    """Return a history whose entry at a byte offset has another type."""
    return history[: at + _TYPE_AT] + bytes((code,)) + history[at + _TYPE_AT + 1 :]
