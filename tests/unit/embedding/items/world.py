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
from services.embedding.encode.item_encoder import (
    EncodedVectors,
    ItemEncoder,
    LastGood,
    PictureMissing,
    no_last_good,
)
from services.embedding.items.arrivals import Arrivals
from services.embedding.items.item_cache import CachedItem, ItemCache
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.record_handler import RecordHandler
from services.embedding.items.vector_publisher import VectorPublisher
from services.embedding.items.versions import Stated, headers, read_stated
from shared.catalogue.item_vectors import NO_VECTOR, ItemVector, Vector, decode_item_vector
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
    """Gives each item unit vectors of its title and its picture's address; can be held, or fail."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}  # by title
        self.fails: list[BaseException] = []
        self.missing = ""  # why no picture can be had now

    async def encode(
        self, item: Item, priority: Priority, last_good: LastGood = no_last_good
    ) -> EncodedVectors:
        try:
            return await self.encode_whole(item, priority)
        except PictureMissing as missing:
            return joined(unit_vector(item.title), await last_good(), missing.reason)

    async def encode_whole(self, item: Item, priority: Priority) -> EncodedVectors:
        self.encoded.append(item.title)
        if item.title in self.hold:
            await self.hold[item.title].wait()
        if self.fails:
            raise self.fails.pop()
        if item.image_uri is None:
            return joined(unit_vector(item.title), NO_VECTOR)
        if self.missing:
            error_class, text = self.missing.split(": ", 1)
            raise PictureMissing(error_class, text)
        return joined(unit_vector(item.title), unit_vector(item.image_uri))


def joined(text: Vector, image: Vector, missing: str = "") -> EncodedVectors:
    whole = text + image if image.size else text
    return EncodedVectors(whole / np.linalg.norm(whole), image, text, missing)


def unit_vector(said: str) -> Vector:
    """Return a vector (DIM,) that depends on a text."""
    seed = int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


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
        return await self.write(partition, item_id.encode(), value, headers(stated, origin))

    async def write(
        self, partition: int, key: bytes, value: bytes | None, described: list[tuple[str, bytes]]
    ) -> int:
        offset = len(self.written)
        self.written.append(Written(offset, key.decode(), value, described))
        return offset

    async def record_at(self, partition: int, offset: int) -> Consumed:
        found = self.written[offset]
        key = found.item_id.encode()
        return Consumed("item-vectors", offset, 0, key, found.value, found.headers, partition)

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
            self.log.record_at,
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
            other.log.record_at,
        )
        for record in self.log.written:
            arrived_ms = record.vector.arrived_ms if record.vector else 0
            alive = record.value is not None
            other.latest.observe(record.item_id, record.stated, alive, arrived_ms, record.offset)
        return other
