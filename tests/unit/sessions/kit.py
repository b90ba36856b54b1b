"""Give tests of sessions items in a table, a log that numbers its events, a Redis that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from freshet.contract.events import Event, encode_event
from freshet.contract.records import JSON, BadRecord
from services.sessions.effect.double import MemoryStore
from services.sessions.effect.store import WriteChunk
from services.sessions.effect.writer import EffectWriter
from services.sessions.faust.batches import Batch, Rejected
from services.sessions.fold.fold import FoldEvent
from services.sessions.fold.settings import FoldSettings
from services.sessions.settings import SessionsSettings
from shared.catalogue.columns import KeyRows
from shared.runtime.dead_letters import DeadLetterWriter
from shared.users import keys, positions
from shared.users.states import UserState, unpack

TOPIC = "clicks"
NOW_S = 1_750_000_000
NOW_MS = NOW_S * 1000


class MemoryItems:
    """The catalogue as the fold sees it: items named item-0, item-1, … by row."""

    def __init__(
        self,
        vectors: ArrayLike,
        categories: Sequence[tuple[str, ...]] | None = None,
        space: str = "test",
    ) -> None:
        rows = np.asarray(vectors, np.float32)
        self.space = space
        self.dim = rows.shape[1]
        self.vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        self.categories = categories or [()] * len(rows)
        self._rows = KeyRows()
        if len(rows):
            item_keys = np.array([key_of(row) for row in range(len(rows))], np.uint64)
            self._rows.put_many(item_keys, np.arange(len(rows)))

    def rows(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        return self._rows.rows(wanted)


def name_of(row: int) -> str:
    return f"item-{row}"


def key_of(row: int) -> int:
    return keys.item_key(name_of(row))


class Log:
    """Makes events as they stand in the log: each on its partition's next offset."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def event(
        self,
        item: int = 0,
        type: str = "click",
        *,
        at_s: float | None = NOW_S,
        record_s: float | None = None,
        user: str = "ann",
        partition: int = 0,
        **fields: Any,
    ) -> FoldEvent:
        """at_s: the event's own time, None for none; record_s: its record's, else the same."""
        offset = self._offsets[partition] = self._offsets.get(partition, -1) + 1
        record_s = record_s if record_s is not None else (at_s if at_s is not None else NOW_S)
        event = Event(
            user_id=user,
            item_id="" if type == "forget" else name_of(item),
            type=type,
            time_ms=None if at_s is None else int(at_s * 1000),
            **fields,
        )
        return FoldEvent(event, partition, offset, int(record_s * 1000))


@dataclass(frozen=True)
class Record:
    """A consumed record, as far as sessions looks at aiokafka's."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = NOW_MS
    partition: int = 0
    topic: str = TOPIC
    timestamp_type: int = 1


def click(
    offset: int,
    user: str = "ann",
    item: int = 0,
    *,
    partition: int = 0,
    type: str = "click",
    segment: str = "",
    headers: Sequence[tuple[str, bytes]] = (),
) -> Record:
    """One good record; each offset is a second later."""
    time_ms = NOW_MS + 1000 * offset
    context = {"segment": segment} if segment else {}
    event = Event(user_id=user, item_id=f"item-{item}", type=type, time_ms=time_ms, context=context)
    return Record(offset, encode_event(event, JSON), user.encode(), headers, time_ms, partition)


def poison(offset: int, partition: int = 0) -> Record:
    """One record that is no event."""
    return Record(offset, b"\xff\x00", b"ann", (), NOW_MS + 1000 * offset, partition)


def batch(records: Sequence[Any], start: int | None = None) -> Batch:
    """The records as one batch, fetched from `start`: by default the first one's offset."""
    first = records[0]
    where = first.offset if start is None else start
    return Batch(first.topic, first.partition, 1, where, records)


class FailingStore(MemoryStore):
    """Fails as told: `faults` are taken one a chunk, None for none."""

    def __init__(self, faults: Iterable[str | None] = ()) -> None:
        super().__init__(TOPIC)
        self.faults = iter(faults)
        self.writes = 0

    async def write(self, partition: int, chunks: Sequence[WriteChunk]) -> None:
        for chunk in chunks:
            fault = next(self.faults, None)
            if fault == "lost before":
                raise ConnectionError("gone")
            await super().write(partition, [chunk])
            self.writes += 1
            if fault == "lost after":
                raise ConnectionError("the reply is lost")


class MemoryDeadLetters(DeadLetterWriter):
    """Keeps dead letters; fails for so many first."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.letters: list[Rejected] = []

    async def send(self, record: Any, error: BadRecord) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no broker")
        self.letters.append(Rejected(record, error))

    @property
    def offsets(self) -> list[int]:
        return [letter.record.offset for letter in self.letters]


def writer(
    store: MemoryStore,
    letters: MemoryDeadLetters | None = None,
    *,
    slice_events: int = 4,
    begin: int = 0,
    partitions: int = 2,
    fold: FoldSettings | None = None,
    **settings: Any,
) -> EffectWriter:
    """A writer that has just taken over all partitions of a log that begins at `begin`."""
    made = EffectWriter(
        store,
        letters or MemoryDeadLetters(),
        SessionsSettings(
            cache_users=100, slice_events=slice_events, fold=fold or FoldSettings(), **settings
        ),
    )
    for partition in range(partitions):
        made.take_over(partition, store.values.get(keys.position(TOPIC, partition)), begin)
    return made


def content(store: MemoryStore) -> dict[bytes, Any]:
    """What a store holds, positions without their stamps."""
    values: dict[bytes, Any] = {
        key: positions.unpack(value)[:2] if key.startswith(b"pos:") else value
        for key, value in store.values.items()
    }
    return values | store.sets


def assert_same(held: Mapping[bytes, Any], expected: Mapping[bytes, Any]) -> None:
    """Compare contents: states and positions exactly, weights within rounding."""
    assert held.keys() == expected.keys()
    for key, value in expected.items():
        tolerant = key.startswith((b"co:", b"tr:"))
        assert held[key] == (pytest.approx(value, abs=1e-9) if tolerant else value), key


def state_of(store: MemoryStore, user: str) -> UserState:
    return unpack(store.values[keys.user(user)])
