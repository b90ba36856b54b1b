"""Handle one record of `items` or `items-backfill`, from its bytes to its effect.

`handle` returns when the record may be acknowledged: its effect, or its dead letter, is in Kafka,
or something newer has overtaken it. Deletes and items whose content is unchanged wait for no
encoder, so they overtake other items' encodes. Records of one item on one topic are applied in
their order, but for deletes, which wait for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from freshet.contract import bounds, records
from freshet.contract.items import Item, decode_item
from freshet.contract.records import ConsumedRecord
from freshet.contract.topics import ITEMS
from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import ItemEncoder
from services.embedding.items.arrivals import Arrivals
from services.embedding.items.item_cache import CachedItem, ItemCache
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import UNCONFIRMED, LatestVersions
from services.embedding.items.vector_publisher import VectorPublisher
from shared import clock
from shared.bundles.content import content_hash
from shared.catalogue.item_vectors import (
    NO_VECTOR,
    ItemVector,
    Vector,
    decode_item_vector,
    encode_item_vector,
)
from shared.catalogue.versions import RecordVersion, record_version
from shared.faults import FaultDetector, relation_of
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetterWriter

log = logging.getLogger(__name__)

RETRY_WAITS_S: Final = (0.2, 1.0)  # Kafka, Redis and hosts that are away are waited for elsewhere
# From here on decoding takes over a millisecond: it leaves the event loop.
LARGE_BYTES: Final = 128 * 1024


@dataclass(slots=True)
class Counts:
    """What was done since the start, for `status`."""

    encoded: int = 0
    reused: int = 0
    deleted: int = 0
    overtaken: int = 0
    dead_letters: int = 0


class RecordHandler:
    """Applies records; any number at once, whatever their order."""

    def __init__(
        self,
        space: str,
        partitions: ItemPartitions,
        latest: LatestVersions,
        encoder: ItemEncoder,
        cache: ItemCache,
        publisher: VectorPublisher,
        dead_letters: DeadLetterWriter,
        arrivals: Arrivals,
        record_at: Callable[[int, int], Awaitable[ConsumedRecord | None]],
        *,
        now_ms: Callable[[], int] = clock.now_ms,
        retry_waits_s: tuple[float, ...] = RETRY_WAITS_S,
    ) -> None:
        """record_at: returns a record of `item-vectors` by partition and offset."""
        self._space = space
        self._partitions = partitions
        self._latest = latest
        self._encoder = encoder
        self._cache = cache
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._arrivals = arrivals
        self._record_at = record_at
        self._now_ms = now_ms
        self._retry_waits_s = retry_waits_s
        self._faults = FaultDetector()
        # Whose turn it is, by topic and key; forgotten when nobody waits.
        self._turns: WeakValueDictionary[tuple[str, bytes | None], asyncio.Lock]
        self._turns = WeakValueDictionary()
        self.counts = Counts()

    async def handle(self, record: ConsumedRecord) -> None:
        """Apply a record. Returns when it may be acknowledged; raises nothing that it can mend.

        Raises SystemFault, after which nothing should be handled until it is mended.
        """
        origin = records.origin_of(record)
        turn = self._turns.setdefault((record.topic, record.key), asyncio.Lock())
        try:
            # What a record changes depends on those before it (shared/catalogue/versions.py);
            # a delete makes them all void.
            async with nullcontext() if record.value is None else turn:
                await self._try(record, origin)
        except records.BadRecord as error:
            log.warning("dead letter %s: %s: %s", origin, error.error_class, error)
            await self._dead_letters.send_until_written(record, error)
            self.counts.dead_letters += 1

    async def _try(self, record: ConsumedRecord, origin: records.Origin) -> None:
        """Apply a record; what fails for no reason of its own is tried again, then refused."""
        for wait_s in (*self._retry_waits_s, None):
            try:
                if record.value is None:
                    return await self._delete(record, origin)
                return await self._upsert(record, record.value, origin)
            except records.BadRecord:
                raise
            except Exception as error:
                self._faults.failed(relation_of(record), error, may_pass=wait_s is not None)
                log.exception("%s failed", origin)
                if wait_s is None:
                    text = f"failed several times: {error!r}"
                    raise records.BadRecord(records.UNPROCESSABLE, text) from error
            await asyncio.sleep(wait_s)

    async def _delete(self, record: ConsumedRecord, origin: records.Origin) -> None:
        if record.topic != ITEMS.name:
            if records.header(record.headers, records.VERSION) is not None:
                return  # the echo of a delete that was applied when it was written
            raise records.BadRecord(
                records.OUT_OF_BOUNDS,
                f"a null on {record.topic} deletes nothing: deletes go on {ITEMS.name}",
            )
        item_id = _id_of_key(record.key)
        version = self._version(record, origin, item_id, None)
        if version is None:
            return
        # Also where this delete stands already: a crash may have left only a part of it.
        await self.publish(item_id, None, version, origin, 0)
        await self._publisher.clear_inputs(item_id, version, origin)
        await self._cache.drop(item_id)
        self.counts.deleted += 1

    async def _upsert(self, record: ConsumedRecord, value: bytes, origin: records.Origin) -> None:
        item = await _decode(value, records.content_type(record.headers))
        records.check_key(record.key, item.item_id)
        version = self._version(record, origin, item.item_id, item.updated_ms)
        if version is None or self._stands(item.item_id, version):
            return
        digest = content_hash(item)
        cached = await self._cache.get(item.item_id)
        if reused := cached is not None and cached.is_of(digest):
            vectors = cached.vectors
        else:
            last_good = partial(self._last_picture, item.item_id, cached)
            vectors = await self._encoder.encode(item, _priority(record.topic), last_good)
        version = self._version(record, origin, item.item_id, item.updated_ms)
        if version is None or self._stands(item.item_id, version):
            return
        latest, stated = self._latest.get(item.item_id), self._latest.stated(item.item_id, version)
        known_ms = latest.arrived_ms if latest and latest.alive else None
        items = len(self._latest) * self._partitions.share
        arrived_ms = self._arrivals.since_ms(item, origin, known_ms, items)
        encoded = encode_item_vector(
            ItemVector(
                item_id=item.item_id,
                space=self._space,
                vector=vectors.vector,
                image_vector=vectors.image_vector,
                text_vector=vectors.text_vector,
                content_hash=digest,
                item=msgspec.structs.replace(item, image_bytes=None),
                version=stated.version_ms,
                arrived_ms=arrived_ms,
                encoded_ms=self._now_ms(),
                picture_missing=vectors.picture_missing,
                tower_vector=vectors.tower_vector,
            )
        )
        await self.publish(item.item_id, encoded, version, origin, arrived_ms)
        await self._cache.put(item.item_id, CachedItem(digest, stated.version_ms, vectors))
        self._count(record, reused)

    async def _last_picture(self, item_id: str, cached: CachedItem | None) -> Vector:
        """Return the vector of a living item's last good picture, (d,) or (0,)."""
        latest = self._latest.get(item_id)
        if latest is None or not latest.alive:
            return NO_VECTOR
        if cached is not None and cached.version == latest.version_ms:
            return cached.vectors.image_vector
        if latest.log_offset == UNCONFIRMED:
            return NO_VECTOR
        record = await self._record_at(self._partitions.of(item_id), latest.log_offset)
        if record is None or record.value is None:
            return NO_VECTOR
        return decode_item_vector(record.value).image_vector

    async def publish(
        self,
        item_id: str,
        value: bytes | None,
        version: RecordVersion,
        origin: records.Origin | None,
        arrived_ms: int,
    ) -> None:
        """Let an encoded item, or its delete (None), be what counts, and write it."""
        stated, partition = self._latest.stated(item_id, version), self._partitions.of(item_id)
        self._latest.claim(item_id, stated, value is not None, arrived_ms)
        log_offset = await self._publisher.publish(item_id, partition, value, stated, origin)
        self._latest.confirm(item_id, stated, log_offset)

    def _version(
        self,
        record: ConsumedRecord,
        origin: records.Origin,
        item_id: str,
        updated_ms: int | None,
    ) -> RecordVersion | None:
        """Return the version that a record has now; None, and count it, if it is overtaken."""
        latest = self._latest.get(item_id)
        counts = None if latest is None else latest.version
        version = record_version(updated_ms, origin, counts)
        if counts is None or not version.is_behind(counts):
            return version
        self.counts.overtaken += 1
        metrics.ITEMS_OVERTAKEN.labels(record.topic).inc()
        return None

    def _stands(self, item_id: str, version: RecordVersion) -> bool:
        """Say whether a version stands on the topic.

        What was claimed and is not confirmed is published again: its first try may be lost.
        """
        latest = self._latest.get(item_id)
        return latest is not None and (
            latest.version == version and latest.log_offset != UNCONFIRMED
        )

    def _count(self, record: ConsumedRecord, reused: bool) -> None:
        if not reused:  # then every step was taken
            self._faults.succeeded()
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
