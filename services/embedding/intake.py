"""The consumer group: which partitions this instance has, one tenure after the other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from services.embedding.budget import Budget
from services.embedding.readback import Readback
from services.embedding.reconcile import Reconcile
from services.embedding.tenure import Tenure
from shared import kafka
from shared.topics import ITEMS, ITEMS_BACKFILL

log = logging.getLogger(__name__)

FETCH_BYTES = 2 * 1024 * 1024  # of a partition; a larger record comes alone
REVOKED_WAIT_S = 3.0  # a rebalance waits for us so long


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads `items` and `items-backfill` in one group; partition p of both goes to one instance."""

    def __init__(
        self,
        settings: kafka.KafkaSettings,
        group_id: str,
        readback: Readback,
        homes: Callable[[set[int]], frozenset[int]],
        reconcile: Reconcile,
        handle: Callable[[ConsumerRecord], Awaitable[None]],
        *,
        in_flight_bytes: int,
    ) -> None:
        self._settings = settings
        self._group_id = group_id
        self._readback = readback
        self._homes = homes
        self._reconcile = reconcile
        self._handle = handle
        # Live items get their own share: a backfill of large pictures cannot use it up.
        self._budgets = (Budget(in_flight_bytes // 2), Budget(in_flight_bytes // 2))
        bounded: dict[str, Any] = {
            "max_partition_fetch_bytes": FETCH_BYTES,
            "fetch_max_bytes": 2 * FETCH_BYTES,
        }
        self._backfill = kafka.consumer(settings, **bounded)
        self._group = kafka.consumer(
            settings,
            group_id=group_id,
            partition_assignment_strategy=(RangePartitionAssignor,),
            max_poll_interval_ms=600_000,
            rebalance_timeout_ms=15_000,
            **bounded,
        )
        self.tenure: Tenure | None = None

    async def start(self) -> None:
        """Join the group. Raises KafkaError while Kafka cannot be had."""
        await self._backfill.start()
        self._group.subscribe(topics=[ITEMS.name, ITEMS_BACKFILL.name], listener=self)
        await self._group.start()

    async def stop(self, within_s: float) -> None:
        """Take nothing more, finish what is under way within the time, leave the group."""
        await self._end_tenure(within_s)
        await self._group.stop()
        await self._backfill.stop()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what is under way, before another instance gets the partitions."""
        await self._end_tenure(REVOKED_WAIT_S)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin with the partitions that this instance got."""
        await self._end_tenure(0)
        log.info(
            "partitions: %s",
            ", ".join(f"{tp.topic}:{tp.partition}" for tp in sorted(assigned)) or "none",
        )
        self.tenure = Tenure(
            assigned,
            self._group,
            self._backfill,
            self._committed,
            self._readback,
            self._homes,
            self._reconcile,
            self._handle,
            self._budgets,
        )
        self.tenure.begin()

    async def _end_tenure(self, within_s: float) -> None:
        tenure, self.tenure = self.tenure, None
        if tenure is not None:
            await tenure.end(within_s)

    async def _committed(
        self, tps: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        admin = await kafka.admin(self._settings)
        try:
            return dict(await admin.list_consumer_group_offsets(self._group_id, partitions=tps))
        finally:
            await admin.close()
