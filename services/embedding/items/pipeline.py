"""What is done with one record of `items` or `items-backfill`, from its bytes to its effect.

`handle` returns when the record may be acknowledged: its effect, or its dead letter, is in Kafka,
or something newer has overtaken it. Deletes and items whose content is unchanged wait for no
encoder, so they overtake other items' encodes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from freshet.contract import bounds, records
from freshet.contract.items import Item, decode_item
from freshet.contract.topics import ITEMS
from services.embedding.encode.batcher import Priority
from services.embedding.encode.content import content_hash
from services.embedding.items.item_cache import Cached, ItemCache, Vectors
from services.embedding.items.item_partitions import Homes
from services.embedding.items.latest_versions import UNCONFIRMED, Standings
from services.embedding.items.versions import Rank, rank
from shared.catalogue.item_vectors import ItemVector, encode_item_vector
from shared.runtime import metrics

log = logging.getLogger(__name__)

RETRY_WAITS_S: Final = (0.2, 1.0)  # Kafka, Redis and hosts that are away are waited for elsewhere
LARGE_BYTES: Final = (
    128 * 1024
)  # decoding takes over a millisecond from here on: leave the event loop


class Record(records.Record, Protocol):
    """What is read of a consumed record."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Encodes(Protocol):
    """Turns an item into vectors; raises BadRecord."""

    async def encode(self, item: Item, priority: Priority) -> Vectors: ...


class Publishes(Protocol):
    """Writes to Kafka and waits until it is there (publish.Publisher)."""

    async def publish(
        self,
        item_id: str,
        home: int,
        value: bytes | None,
        rank: Rank,
        origin: records.Origin | None,
    ) -> int: ...

    async def clear_inputs(self, item_id: str, rank: Rank, origin: records.Origin) -> None: ...


class SendsDeadLetters(Protocol):
    """Writes a dead letter and waits until it is there (kafka.DeadLetters)."""

    async def send(
        self,
        origin: records.Origin,
        key: bytes | None,
        value: bytes | None,
        headers: Any,
        error: records.BadRecord,
    ) -> None: ...


@dataclass(slots=True)
class Counts:
    """What was done since the start, for `status`."""

    encoded: int = 0
    reused: int = 0
    deleted: int = 0
    overtaken: int = 0
    dead_letters: int = 0


class Pipeline:
    """Applies records; any number at once, whatever their order."""

    def __init__(
        self,
        space: str,
        homes: Homes,
        standings: Standings,
        encoder: Encodes,
        cache: ItemCache,
        publisher: Publishes,
        dead_letters: SendsDeadLetters,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        retry_waits_s: tuple[float, ...] = RETRY_WAITS_S,
    ) -> None:
        self._space = space
        self._homes = homes
        self._standings = standings
        self._encoder = encoder
        self._cache = cache
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._now_ms = now_ms
        self._retry_waits_s = retry_waits_s
        self.counts = Counts()

    async def handle(self, record: Record) -> None:
        """Apply a record. Returns when it may be acknowledged; raises nothing that it can mend."""
        origin = records.origin_of(record)
        try:
            await self._try(record, origin)
        except records.BadRecord as error:
            await self._refuse(record, origin, error)

    async def _refuse(
        self, record: Record, origin: records.Origin, error: records.BadRecord
    ) -> None:
        log.warning("dead letter %s: %s: %s", origin, error.error_class, error)
        send = self._dead_letters.send
        try:
            await send(origin, record.key, record.value, record.headers, error)
        except records.BadRecord:  # the topic, made by others, takes less: keep at least why
            shorter = records.BadRecord(error.error_class, f"{error} (its value was too large)")
            await send(origin, record.key, None, record.headers, shorter)
        self.counts.dead_letters += 1
        metrics.DEAD_LETTERS.labels("embedding", error.error_class).inc()

    async def _try(self, record: Record, origin: records.Origin) -> None:
        """Apply a record; what fails for no reason of its own is tried again, then refused."""
        for wait_s in (*self._retry_waits_s, None):
            try:
                if record.value is None:
                    return await self._delete(record, origin)
                return await self._upsert(record, record.value, origin)
            except records.BadRecord:
                raise
            except Exception as error:
                log.exception("%s failed", origin)
                if wait_s is None:
                    text = f"failed several times: {error!r}"
                    raise records.BadRecord(records.UNPROCESSABLE, text) from error
            await asyncio.sleep(wait_s)

    async def _delete(self, record: Record, origin: records.Origin) -> None:
        if record.topic != ITEMS.name:
            if records.header(record.headers, records.VERSION) is not None:
                return  # the echo of a delete that was applied when it was written
            raise records.BadRecord(
                records.OUT_OF_BOUNDS,
                f"a null on {record.topic} deletes nothing: deletes go on {ITEMS.name}",
            )
        item_id = _id_of_key(record.key)
        its_rank = rank(None, origin)
        standing = self._standings.get(item_id)
        if standing is not None and standing.rank > its_rank:
            self.counts.overtaken += 1
            return
        # Also where this delete stands already: a crash may have left only a part of it.
        await self.publish(item_id, None, its_rank, origin, 0)
        await self._publisher.clear_inputs(item_id, its_rank, origin)
        await self._cache.drop(item_id)
        self.counts.deleted += 1

    async def _upsert(self, record: Record, value: bytes, origin: records.Origin) -> None:
        item = await _decode(value, records.content_type(record.headers))
        records.check_key(record.key, item.item_id)
        its_rank = rank(item.updated_ms, origin)
        if self._overtaken(item.item_id, its_rank):
            return
        digest = content_hash(item)
        cached = await self._cache.get(item.item_id)
        if reused := cached is not None and cached.content_hash == digest:
            vectors = cached.vectors
        else:
            vectors = await self._encoder.encode(item, _priority(record.topic))
        if self._overtaken(item.item_id, its_rank):
            return
        standing = self._standings.get(item.item_id)
        # What comes by backfill is older than its record: its first version says since when it is.
        arrived_ms = standing.arrived_ms if standing and standing.alive else its_rank.version
        encoded = encode_item_vector(
            ItemVector(
                item_id=item.item_id,
                space=self._space,
                vector=vectors.vector,
                image_vector=vectors.image_vector,
                text_vector=vectors.text_vector,
                content_hash=digest,
                item=msgspec.structs.replace(item, image_bytes=None),
                version=its_rank.version,
                arrived_ms=arrived_ms,
                encoded_ms=self._now_ms(),
            )
        )
        await self.publish(item.item_id, encoded, its_rank, origin, arrived_ms)
        await self._cache.put(item.item_id, Cached(digest, its_rank.version, vectors))
        self._count(record, reused)

    async def publish(
        self,
        item_id: str,
        value: bytes | None,
        its_rank: Rank,
        origin: records.Origin | None,
        arrived_ms: int,
    ) -> None:
        """Let an encoded item, or its delete (None), be what counts, and write it."""
        self._standings.claim(item_id, its_rank, value is not None, arrived_ms)
        home = self._homes.of(item_id)
        log_offset = await self._publisher.publish(item_id, home, value, its_rank, origin)
        self._standings.confirm(item_id, its_rank, log_offset)

    def _overtaken(self, item_id: str, its_rank: Rank) -> bool:
        """Say, and count, whether a record has nothing to add.

        A higher one counts, or it stands there itself. What was claimed and is not confirmed is
        published again: its first try may be lost.
        """
        standing = self._standings.get(item_id)
        if standing is None or standing.rank < its_rank:
            return False
        overtaken = standing.rank > its_rank or standing.log_offset != UNCONFIRMED
        self.counts.overtaken += overtaken
        return overtaken

    def _count(self, record: Record, reused: bool) -> None:
        counter = metrics.ITEMS_REUSED if reused else metrics.ITEMS_ENCODED
        counter.labels(record.topic).inc()
        self.counts.reused += reused
        self.counts.encoded += not reused
        delay_ms = max(self._now_ms() - record.timestamp, 0)
        metrics.ITEM_TO_VECTOR_S.labels(record.topic).observe(delay_ms / 1000)


def _priority(topic: str) -> Priority:
    return Priority.LIVE if topic == ITEMS.name else Priority.BACKFILL


def _id_of_key(key: bytes | None) -> str:
    try:
        item_id = (key or b"").decode()
    except UnicodeDecodeError:
        raise records.BadRecord(records.WRONG_KEY, "the key of a delete must be UTF-8") from None
    bounds.check_id("the key of a delete", item_id)
    return item_id


async def _decode(value: bytes, content_type: str) -> Item:
    if len(value) < LARGE_BYTES:
        return decode_item(value, content_type)
    return await asyncio.to_thread(decode_item, value, content_type)
