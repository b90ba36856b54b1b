"""Try again to get the pictures that published items lack, and publish the items with them.

What is published keeps its version, so that whatever comes after it counts; should an update come
to stand before it on the topic, readback publishes the update again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import ItemEncoder, PictureMissing
from services.embedding.items.item_cache import CachedItem, ItemCache
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import UNCONFIRMED, LatestVersions
from services.embedding.items.vector_publisher import VectorPublisher
from services.embedding.pictures.missing_pictures import MissingPictures
from shared.catalogue.item_vectors import decode_item_vector, encode_item_vector
from shared.clock import now_ms
from shared.faults import SystemFault

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
CHECK_S: Final = 1.0

RecordAt = Callable[[int, int], Awaitable[ConsumerRecord | None]]


class PictureRetries:
    """Tries the items that this instance looks after, behind everything that arrives."""

    def __init__(
        self,
        missing: MissingPictures,
        latest: LatestVersions,
        partitions: ItemPartitions,
        record_at: RecordAt,
        encoder: ItemEncoder,
        cache: ItemCache,
        publisher: VectorPublisher,
        caught_up: Callable[[], Awaitable[object]],
    ) -> None:
        """record_at: returns a record of `item-vectors` by partition and offset.

        caught_up: returns once all is known that counts.
        """
        self._missing = missing
        self._latest = latest
        self._partitions = partitions
        self._record_at = record_at
        self._encoder = encoder
        self._cache = cache
        self._publisher = publisher
        self._caught_up = caught_up
        self.mended = 0  # items that got their picture, since the start

    async def run(self) -> None:
        """Try what is due until cancelled. Raises SystemFault."""
        await self._caught_up()
        while True:
            due = list(islice(self._missing.due(time.monotonic()), AT_ONCE))
            await asyncio.gather(*(self._try_safely(item_id) for item_id in due))
            if len(due) < AT_ONCE:
                await asyncio.sleep(CHECK_S)

    def missing(self) -> Mapping[str, int]:
        """Return how many items are without their picture, by the class of the reason."""
        return self._missing.counts

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows of pictures."""
        return {
            "missing": {name: count for name, count in self.missing().items() if count},
            "not_tried_again": self._missing.left_out,
            "mended": self.mended,
        }

    async def _try_safely(self, item_id: str) -> None:
        try:
            await self.try_again(item_id)
        except SystemFault:
            raise
        except Exception:  # whatever is wrong with one item stops no other
            log.exception("the picture of %r is tried again later", item_id)

    async def try_again(self, item_id: str) -> None:
        """Publish an item with its picture, if it is there now and nothing newer counts."""
        before, partition = self._latest.get(item_id), self._partitions.of(item_id)
        if before is None or not before.alive or before.log_offset == UNCONFIRMED:
            return
        if not self._partitions.looks_after(item_id):
            return
        record = await self._record_at(partition, before.log_offset)
        if record is None or record.value is None:
            return
        published = decode_item_vector(record.value)
        try:
            vectors = await self._encoder.encode_whole(published.item, Priority.BACKFILL)
        except PictureMissing:
            return
        if self._latest.get(item_id) != before:
            return
        mended = msgspec.structs.replace(
            published,
            vector=vectors.vector,
            image_vector=vectors.image_vector,
            text_vector=vectors.text_vector,
            tower_vector=vectors.tower_vector,
            picture_missing="",
            encoded_ms=now_ms(),
        )
        value, key = encode_item_vector(mended), item_id.encode()
        await self._publisher.write(partition, key, value, list(record.headers))
        entry = CachedItem(published.content_hash, before.version_ms, vectors)
        await self._cache.put(item_id, entry)
        self.mended += 1
