"""Fill a catalogue: a snapshot's rows first, then `item-vectors.SPACE` from its offsets.

The same in sessions and in ranking. A snapshot is only a shorter way: whatever is wrong with it,
the topic from its beginning gives the same catalogue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord

from freshet import kafka_clients
from freshet.contract import records, topics
from freshet.kafka_clients import KafkaSettings
from shared.catalogue import snapshots
from shared.catalogue.arrow import from_table, read_table
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import decode_item_vector
from shared.catalogue.snapshots import Snapshot
from shared.clock import now_ms
from shared.runtime.topic_reader import TopicReader, ends_of

log = logging.getLogger(__name__)


class CatalogueFeed:
    """Keeps `catalogue` in step with its topic. Listeners of the catalogue hear each change."""

    def __init__(
        self,
        settings: KafkaSettings,
        space: str,
        dim: int,
        *,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.catalogue = Catalogue(space, dim)
        self.snapshot_name = ""  # of the snapshot begun with; empty: none
        self.delay_ms = 0  # from the last record's time to its effect here
        self.undecodable = 0  # records that are not item vectors, since the start
        self._clock_ms = clock_ms
        self._topic = topics.item_vectors(space).name
        self._make_consumer = partial(kafka_clients.consumer, settings)
        self._reader = TopicReader(self._make_consumer, self._topic)

    async def load(self, snapshots_url: str) -> Snapshot | None:
        """Begin with the newest snapshot that may be used; once, before `run`.

        Returns it; None, with the reason in the log, if the topic is read from its beginning.
        Raises KafkaError, TimeoutError or OSError while Kafka is unavailable.
        """
        ends = await ends_of(self._make_consumer, self._topic)
        where = self.catalogue.space, self.catalogue.dim
        snapshot = await asyncio.to_thread(
            snapshots.newest, snapshots_url, *where, self._clock_ms()
        )
        if snapshot is None:
            return None
        for partition, offset in snapshot.manifest.offsets.items():
            if offset > ends.get(partition, 0):
                log.warning(
                    "snapshot %s not used: it is of another log, whose partition %d reached %d",
                    snapshot.name,
                    partition,
                    offset,
                )
                return None
        try:
            await asyncio.to_thread(self._restore, snapshot)
        except (ValueError, OSError) as error:
            log.warning("snapshot %s not used: %s", snapshot.name, error)
            return None
        self.snapshot_name = snapshot.name
        offsets = snapshot.manifest.offsets
        self._reader = TopicReader(self._make_consumer, self._topic, offsets=offsets)
        log.info("%d items from snapshot %s", self.catalogue.living, snapshot.name)
        return snapshot

    def _restore(self, snapshot: Snapshot) -> None:
        self.catalogue.restore(from_table(read_table(snapshot.catalogue)))

    async def run(self) -> None:
        """Read the topic until cancelled."""
        await self._reader.run(self._take)

    async def caught_up(self) -> None:
        """Wait until everything is applied that stood in the topic when this was called."""
        await self._reader.caught_up()

    @property
    def offsets(self) -> dict[int, int]:
        """The first offset not applied yet, by partition; where a snapshot's reader goes on."""
        return dict(self._reader.positions)

    def status(self) -> dict[str, Any]:
        """Return figures for /status and metrics."""
        catalogue = self.catalogue
        return {
            "space": catalogue.space,
            "items": catalogue.living,
            "rows": len(catalogue),
            "begun_with_snapshot": self.snapshot_name,
            "lag": self._reader.lag(),
            "delay_ms": self.delay_ms,
            "stale": catalogue.stale,
            "refused": catalogue.refused + self.undecodable,
            "consumers_replaced": self._reader.replaced,
        }

    def _take(self, consumed: Sequence[ConsumerRecord]) -> None:
        changes = []
        for record in consumed:
            try:
                changes.append(change_of(record))
            except records.BadRecord as error:
                self.undecodable += 1
                where = f"{record.topic}:{record.partition}:{record.offset}"
                log.warning("%s is not an item vector: %s", where, error)
        now_ms = self._clock_ms()
        for item_id, why in self.catalogue.apply(changes, now_ms=now_ms).refused:
            log.warning("item %r is not taken in: %s", item_id, why)
        self.delay_ms = max(0, now_ms - consumed[-1].timestamp)


def change_of(record: ConsumerRecord) -> Change:
    """Return what a record of `item-vectors` says. Raises BadRecord.

    The version is the header's; without one the value's, and for a delete the record's time.
    """
    try:
        item_id = (record.key or b"").decode()
    except UnicodeDecodeError as error:
        raise records.BadRecord(records.WRONG_KEY, f"the key must be UTF-8: {error}") from None
    item = None if record.value is None else decode_item_vector(record.value)
    if item is not None:
        records.check_key(record.key, item.item_id)
    stated = records.header(record.headers, records.VERSION) or b""
    if stated.isdigit() and len(stated) <= 18:
        return Change(item_id, int(stated), item)
    return Change(item_id, record.timestamp if item is None else item.version, item)
