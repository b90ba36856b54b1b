"""A log in a list, and a Redis in a dict that fails when told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from services.sessions.effect.double import MemoryStore
from services.sessions.effect.store import Chunk
from services.sessions.effect.writer import Applier, Fold
from services.sessions.faust.batches import Batch, Rejected
from services.sessions.fold.fold import Folded, FoldEvent, fold_many
from services.sessions.fold.settings import FoldSettings
from shared.users import keys, positions
from shared.users.states import UserState, unpack
from tests.unit.sessions.world import MemoryItems

TOPIC = "clicks"
START_MS = 1_750_000_000_000
ITEMS = MemoryItems(np.random.default_rng(3).standard_normal((12, 8)), [("shoes",), ("hats",)] * 6)
SETTINGS = FoldSettings()


@dataclass(frozen=True)
class Record:
    """As aiokafka's ConsumerRecord, as far as sessions looks."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = START_MS
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
    headers: Sequence[tuple[str, bytes]] = (),
) -> Record:
    """One good record; each offset is a second later."""
    time_ms = START_MS + 1000 * offset
    value = f'{{"user_id":"{user}","item_id":"item-{item}","type":"{type}","time_ms":{time_ms}}}'
    return Record(offset, value.encode(), user.encode(), headers, time_ms, partition)


def poison(offset: int, partition: int = 0) -> Record:
    """One record that is no event."""
    return Record(offset, b"\xff\x00", b"ann", (), START_MS + 1000 * offset, partition)


def batch(records: Sequence[Record], start: int | None = None) -> Batch:
    """The records as one batch, fetched from `start`: by default the first one's offset."""
    first = records[0]
    where = first.offset if start is None else start
    return Batch(first.topic, first.partition, 1, where, records)


def real_fold(states: Mapping[str, UserState], events: Sequence[FoldEvent]) -> Folded:
    return fold_many(states, events, ITEMS, SETTINGS)


class FailingStore(MemoryStore):
    """Fails as told: `faults` are taken one a chunk, None for none."""

    def __init__(self, faults: Iterable[str | None] = ()) -> None:
        super().__init__(TOPIC)
        self.faults = iter(faults)
        self.writes = 0

    async def write(self, partition: int, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            fault = next(self.faults, None)
            if fault == "lost before":
                raise ConnectionError("gone")
            await super().write(partition, [chunk])
            self.writes += 1
            if fault == "lost after":
                raise ConnectionError("the reply is lost")


@dataclass
class Letters:
    """Keeps dead letters; fails so many times first."""

    failures: int = 0
    sent: list[Rejected] = field(default_factory=list)

    async def send(self, rejected: Sequence[Rejected]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no broker")
        self.sent += rejected

    @property
    def offsets(self) -> list[int]:
        return [letter.record.offset for letter in self.sent]


def applier(
    store: MemoryStore,
    letters: Letters | None = None,
    *,
    fold: Fold = real_fold,
    cache_users: int = 100,
    slice_events: int = 4,
    begin: int = 0,
    partitions: int = 2,
) -> Applier:
    """A worker's applier, just given all partitions of a log that begins at `begin`."""
    made: Any = Applier(
        store,  # type: ignore[arg-type]
        fold,
        (letters or Letters()).send,
        cache_users=cache_users,
        slice_events=slice_events,
    )
    for partition in range(partitions):
        made.place(partition, store.values.get(keys.position(TOPIC, partition)), begin)
    return made  # type: ignore[no-any-return]


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
