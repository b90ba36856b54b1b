"""The pipeline among doubles: a log in memory, an encoder that can be held, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from freshet.contract import records
from freshet.contract.items import Item, encode_item
from services.embedding.encode.batcher import Priority
from services.embedding.items.item_cache import MemoryItemCache, Vectors
from services.embedding.items.item_partitions import Homes
from services.embedding.items.latest_versions import Standings
from services.embedding.items.pipeline import Pipeline
from services.embedding.items.versions import Rank, headers, published_rank
from shared.catalogue.item_vectors import ItemVector, decode_item_vector

DIM = 8


@dataclass(frozen=True)
class Consumed:
    """A consumed record."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = 0


@dataclass(frozen=True)
class Written:
    """A record on `item-vectors`."""

    offset: int
    item_id: str
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def rank(self) -> Rank:
        found = published_rank(self.headers)
        assert found is not None
        return found

    @property
    def vector(self) -> ItemVector | None:
        return None if self.value is None else decode_item_vector(self.value)


def upsert(item: Item, offset: int, time_ms: int, topic: str = "items") -> Consumed:
    return Consumed(topic, offset, time_ms, item.item_id.encode(), encode_item(item))


def delete(item_id: str, offset: int, time_ms: int) -> Consumed:
    return Consumed("items", offset, time_ms, item_id.encode(), None)


class HashEncoder:
    """Gives each item a unit vector that depends on its title; can be held, or fail."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}  # by title
        self.fails: list[BaseException] = []

    async def encode(self, item: Item, priority: Priority) -> Vectors:
        self.encoded.append(item.title)
        if item.title in self.hold:
            await self.hold[item.title].wait()
        if self.fails:
            raise self.fails.pop()
        seed = int.from_bytes(blake2b(item.title.encode(), digest_size=8).digest(), "big")
        vector = np.random.default_rng(seed).standard_normal(DIM)
        half = (vector / np.linalg.norm(vector)).astype(np.float16)
        return Vectors(half, np.empty(0, np.float16), half)


class MemoryLog:
    """`item-vectors` and the nulls beside it."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.nulls: list[str] = []
        self.held: asyncio.Event | None = None  # no write ends before it is set

    async def publish(
        self,
        item_id: str,
        home: int,
        value: bytes | None,
        rank: Rank,
        origin: records.Origin | None,
    ) -> int:
        if self.held is not None:
            await self.held.wait()
        offset = len(self.written)
        self.written.append(Written(offset, item_id, value, headers(rank.version, origin)))
        return offset

    async def clear_inputs(self, item_id: str, rank: Rank, origin: records.Origin) -> None:
        self.nulls.append(item_id)

    def of(self, item_id: str) -> list[Written]:
        return [record for record in self.written if record.item_id == item_id]

    def seen_by_reader(self, item_id: str) -> Written | None:
        """Return what a reader holds that ignores versions below the one it has."""
        held = None
        for record in self.of(item_id):
            if held is None or record.rank.version >= held.rank.version:
                held = record
        return held


@dataclass
class DeadLetters:
    """Dead letters in memory."""

    sent: list[tuple[records.Origin, records.BadRecord]] = field(default_factory=list)

    async def send(
        self,
        origin: records.Origin,
        key: bytes | None,
        value: bytes | None,
        headers: records.Headers,
        error: records.BadRecord,
    ) -> None:
        self.sent.append((origin, error))

    @property
    def classes(self) -> list[str]:
        return [error.error_class for _, error in self.sent]


class World:
    """One instance of the pipeline."""

    def __init__(self, standings: Standings | None = None) -> None:
        self.encoder = HashEncoder()
        self.log = MemoryLog()
        self.letters = DeadLetters()
        self.cache = MemoryItemCache()
        self.standings = Standings() if standings is None else standings
        self.pipeline = Pipeline(
            "test",
            Homes(1, 1),
            self.standings,
            self.encoder,
            self.cache,
            self.log,
            self.letters,
            retry_waits_s=(0.0, 0.0),
        )

    async def handle(self, *consumed: Consumed) -> None:
        """Handle records one after the other."""
        for record in consumed:
            await self.pipeline.handle(record)

    def restarted(self) -> World:
        """Return another instance that knows only what stands on the log."""
        other = World()
        other.log, other.cache = self.log, self.cache
        other.pipeline = Pipeline(
            "test",
            Homes(1, 1),
            other.standings,
            other.encoder,
            other.cache,
            other.log,
            other.letters,
        )
        for record in self.log.written:
            arrived_ms = record.vector.arrived_ms if record.vector else 0
            alive = record.value is not None
            other.standings.observe(record.item_id, record.rank, alive, arrived_ms, record.offset)
        return other
