"""Take a batch's events apart by field, so that numpy prepares all of them at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec
import numpy as np

from freshet.contract.events import SEGMENT, Event
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.catalogue import Items
from shared.users import keys
from shared.users.event_types import OTHER
from shared.users.states import (
    ENTRY,
    ENTRY_BYTES,
    HAS_VALUE,
    LACKS_VECTOR,
    NEVER_COUNTED,
    STARTS_SESSION,
)

_LATEST_MS: Final = (2**32 - 1) * 1000  # in 2106: an entry has 4 bytes for the second
_FLOAT16_MOST: Final = 65_504.0

# Hashing an id costs ten times the look-up; 100,000 of them take about 20 MB.
cached_item_key: Final = lru_cache(maxsize=100_000)(keys.item_key)


class FoldEvent(msgspec.Struct, frozen=True, gc=False):
    """An event, with where it stands in the log.

    partition, offset: of the record that is read, which the guard goes by.
    record_time_ms: the record's time; of a replayed dead letter its origin's, and then
    `event.event_id` is the event's own or else the origin (`topic:partition:offset`), so that a
    letter replayed twice counts once.
    """

    event: Event
    partition: int
    offset: int
    record_time_ms: int


class EventColumns:
    """What the fold needs of each event, in lists and arrays by the event's number in the batch."""

    def __init__(self, records: Sequence[FoldEvent], items: Items, settings: FoldSettings) -> None:
        self._events = events = [record.event for record in records]
        self.partitions = [record.partition for record in records]
        self.offsets = [record.offset for record in records]
        self.record_ms = [record.record_time_ms for record in records]

        # An event's time is its own, but hardly later than its record's; without one the record's.
        latest = np.array(self.record_ms, np.int64) + settings.future_ms
        own = [
            record_ms if event.time_ms is None else event.time_ms
            for event, record_ms in zip(events, self.record_ms, strict=True)
        ]
        self.times_ms = np.clip(np.minimum(own, latest), 0, _LATEST_MS)  # (m,) int64
        # After a forget an event counts if its own and its record's time are both later.
        self.counts_from_ms = np.minimum(self.times_ms, self.record_ms).tolist()

        codes = settings.vectors.weights.codes
        self.codes = [codes.get(event.type, OTHER) for event in events]
        self.item_keys = [cached_item_key(event.item_id) for event in events]
        self.event_hashes = [hash_of(event.event_id) for event in events]
        self.session_hashes = [hash_of(event.session_id) for event in events]

        entries = np.zeros(len(events), ENTRY)
        entries["item"] = self.item_keys
        entries["seconds"] = self.times_ms // 1000
        entries["event_id"] = self.event_hashes
        entries["type"] = self.codes
        values = [event.value for event in events]
        valued = [value is not None for value in values]
        if any(valued):
            numbers = np.array([value or 0.0 for value in values])
            entries["value"] = np.clip(numbers, -_FLOAT16_MOST, _FLOAT16_MOST)
            entries["flags"] = np.where(valued, HAS_VALUE, 0)
        rows = items.rows(entries["item"])
        unknown = rows < 0
        if unknown.any():
            entries["flags"][unknown] |= LACKS_VECTOR | NEVER_COUNTED
        self.seconds = entries["seconds"].tolist()
        self.weights = settings.vectors.weights.of(entries)  # (m,) float32
        # What clients name and no catalogue knows counts for nobody but its user.
        self.visits = (settings.vectors.weights.visits(entries) & ~unknown).tolist()
        self.visit_weight = settings.vectors.weights.visit_weight
        self.half_life_s = settings.half_lives.trending_s
        self._entries = entries.tobytes()
        entries["flags"] |= STARTS_SESSION
        self._starting = entries.tobytes()
        self.scopes = _scopes(events, rows.tolist(), items)
        self.exclusions_at_most = settings.exclusions.at_most
        self.history_bytes = settings.vectors.history * ENTRY_BYTES
        # Members of sorted sets that a visit raises, at most: followers, scopes, popularity.
        self.increments = [settings.covisit_reach + len(scopes) + 1 for scopes in self.scopes]

    def entry(self, number: int, starts_session: bool) -> bytes:
        """Return an event as an entry of a history."""
        packed = self._starting if starts_session else self._entries
        return packed[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES]

    def type_name(self, number: int) -> str:
        """Return the name of an event's type."""
        return self._events[number].type


def hash_of(text: str | None) -> int:
    """Return 4 bytes for an event or session id, never 0; 0 for none.

    Two event ids within one history share them with p = 10^-8; the second is then taken for a
    repetition of the first.
    """
    return (crc32(text.encode()) or 1) if text else 0


def _scopes(events: Sequence[Event], rows: Sequence[int], items: Items) -> list[tuple[str, ...]]:
    """Return the trending scopes of each event: all, its item's categories, its segment."""
    of_row = items.categories
    return [
        _scopes_of(of_row[row] if row >= 0 else (), event.context.get(SEGMENT))
        for row, event in zip(rows, events, strict=True)
    ]


@lru_cache(maxsize=50_000)
def _scopes_of(categories: tuple[str, ...], segment: str | None) -> tuple[str, ...]:
    scopes = [keys.ALL_SCOPE, *map(keys.category_scope, dict.fromkeys(categories))]
    if segment:
        scopes.append(keys.segment_scope(segment))
    return tuple(scopes)
