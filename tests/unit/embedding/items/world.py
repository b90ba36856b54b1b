"""A record handler among doubles: a log in memory, an encoder that can be held, dead letters."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from freshet.contract import records
from freshet.contract.items import Item, encode_item
from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import EncodedVectors, ItemEncoder
from services.embedding.items.arrivals import Arrivals
from services.embedding.items.item_cache import CachedItem, ItemCache
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.record_handler import RecordHandler
from services.embedding.items.vector_publisher import VectorPublisher
from services.embedding.items.versions import Stated, headers, read_stated
from shared.catalogue.item_vectors import ItemVector, decode_item_vector
from shared.catalogue.versions import RecordVersion
from shared.runtime.dead_letters import DeadLetterWriter

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
    def stated(self) -> Stated:
        vector = self.vector
        found = read_stated(self.headers, None if vector is None else vector.item.updated_ms)
        assert found is not None
        return found

    @property
    def version(self) -> RecordVersion:
        return self.stated.version

    @property
    def version_ms(self) -> int:
        return self.stated.version_ms

    @property
    def vector(self) -> ItemVector | None:
        return None if self.value is None else decode_item_vector(self.value)


def upsert(item: Item, offset: int, time_ms: int, topic: str = "items") -> Consumed:
    return Consumed(topic, offset, time_ms, item.item_id.encode(), encode_item(item))


def delete(item_id: str, offset: int, time_ms: int) -> Consumed:
    return Consumed("items", offset, time_ms, item_id.encode(), None)


class HashEncoder(ItemEncoder):
    """Gives each item a unit vector that depends on its title; can be held, or fail."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}  # by title
        self.fails: list[BaseException] = []

    async def encode(self, item: Item, priority: Priority) -> EncodedVectors:
        self.encoded.append(item.title)
        if item.title in self.hold:
            await self.hold[item.title].wait()
        if self.fails:
            raise self.fails.pop()
        seed = int.from_bytes(blake2b(item.title.encode(), digest_size=8).digest(), "big")
        vector = np.random.default_rng(seed).standard_normal(DIM)
        half = (vector / np.linalg.norm(vector)).astype(np.float16)
        return EncodedVectors(half, np.empty(0, np.float16), half)


class MemoryLog(VectorPublisher):
    """`item-vectors` and the nulls beside it."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.nulls: list[str] = []
        self.held: asyncio.Event | None = None  # no write ends before it is set

    async def publish(
        self,
        item_id: str,
        partition: int,
        value: bytes | None,
        stated: Stated,
        origin: records.Origin | None,
    ) -> int:
        if self.held is not None:
            await self.held.wait()
        offset = len(self.written)
        self.written.append(Written(offset, item_id, value, headers(stated, origin)))
        return offset

    async def clear_inputs(
        self, item_id: str, version: RecordVersion, origin: records.Origin
    ) -> None:
        self.nulls.append(item_id)

    def of(self, item_id: str) -> list[Written]:
        return [record for record in self.written if record.item_id == item_id]

    def seen_by_reader(self, item_id: str) -> Written | None:
        """Return what a reader holds that ignores versions below the one it has."""
        held = None
        for record in self.of(item_id):
            if held is None or record.version_ms >= held.version_ms:
                held = record
        return held


class DeadLetters(DeadLetterWriter):
    """Dead letters in memory."""

    def __init__(self) -> None:
        self.letters: list[tuple[records.Origin, records.BadRecord]] = []

    async def send_until_written(
        self, record: records.ConsumedRecord, error: records.BadRecord
    ) -> None:
        self.letters.append((records.origin_of(record), error))

    @property
    def classes(self) -> list[str]:
        return [error.error_class for _, error in self.letters]


class MemoryItemCache(ItemCache):
    """A cache in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, CachedItem] = {}

    async def get(self, item_id: str) -> CachedItem | None:
        return self.entries.get(item_id)

    async def put(self, item_id: str, entry: CachedItem) -> None:
        self.entries[item_id] = entry

    async def drop(self, item_id: str) -> None:
        self.entries.pop(item_id, None)


class World:
    """One instance of the record handler."""

    def __init__(self, latest: LatestVersions | None = None) -> None:
        self.encoder = HashEncoder()
        self.log = MemoryLog()
        self.dead = DeadLetters()
        self.cache = MemoryItemCache()
        self.latest = LatestVersions() if latest is None else latest
        self.handler = RecordHandler(
            "test",
            ItemPartitions(1, 1),
            self.latest,
            self.encoder,
            self.cache,
            self.log,
            self.dead,
            Arrivals({}, many=math.inf),
            retry_waits_s=(0.0, 0.0),
        )

    async def handle(self, *consumed: Consumed) -> None:
        """Handle records one after the other."""
        for record in consumed:
            await self.handler.handle(record)

    def restarted(self) -> World:
        """Return another instance that knows only what stands on the log."""
        other = World()
        other.log, other.cache = self.log, self.cache
        other.handler = RecordHandler(
            "test",
            ItemPartitions(1, 1),
            other.latest,
            other.encoder,
            other.cache,
            other.log,
            other.dead,
            Arrivals({}, many=math.inf),
        )
        for record in self.log.written:
            arrived_ms = record.vector.arrived_ms if record.vector else 0
            alive = record.value is not None
            other.latest.observe(record.item_id, record.stated, alive, arrived_ms, record.offset)
        return other
