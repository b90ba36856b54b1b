"""Join the consumer group that shares out the items, one assignment after the other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from freshet import kafka_clients
from freshet.contract.topics import ITEMS, ITEMS_BACKFILL
from services.embedding.items.assignment import Assignment, Wiring
from services.embedding.items.reconcile import Reconcile
from shared.runtime.byte_limit import ByteLimit

log = logging.getLogger(__name__)

FETCH_BYTES: Final = 2 * 1024 * 1024  # of a partition; a larger record comes alone
REVOKED_WAIT_S: Final = 3.0  # how long a rebalance waits for what is under way


class ItemConsumerGroup(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads `items` and `items-backfill` in one group; partition p of both goes to one instance."""

    def __init__(
        self,
        settings: kafka_clients.KafkaSettings,
        group_id: str,
        caught_up: Callable[[set[int]], Awaitable[None]],
        reconcile: Reconcile,
        handle: Callable[[ConsumerRecord], Awaitable[None]],
        failed: Callable[[BaseException], None],
        *,
        in_flight_bytes: int,
    ) -> None:
        """Prepare; see Wiring for the functions."""
        self._settings = settings
        self._group_id = group_id
        self._caught_up = caught_up
        self._reconcile = reconcile
        self._handle = handle
        self._failed = failed
        # Each its own share: a backfill of large pictures cannot use up that of live items.
        self._limits = (ByteLimit(in_flight_bytes // 2), ByteLimit(in_flight_bytes // 2))
        self._wiring: Wiring | None = None
        self.assignment: Assignment | None = None
        self._ends: dict[TopicPartition, int] = {}  # of both topics, when first asked

    async def start(self) -> None:
        """Join the group. Raises KafkaError while Kafka is unavailable; may be called again."""
        wiring = self._wire()
        self._wiring = wiring  # the first assignment comes before `start` returns
        try:
            await wiring.backfill.start()
            wiring.group.subscribe(topics=[ITEMS.name, ITEMS_BACKFILL.name], listener=self)
            await wiring.group.start()
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, within_s: float) -> None:
        """Take nothing more, finish what is under way within the time, leave the group."""
        await self._end_assignment(within_s)
        wiring, self._wiring = self._wiring, None
        if wiring is not None:
            await wiring.group.stop()
            await wiring.backfill.stop()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what is under way, before another instance gets the partitions."""
        await self._end_assignment(REVOKED_WAIT_S)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin with the partitions that this instance got."""
        await self._end_assignment(0)
        names = ", ".join(f"{tp.topic}:{tp.partition}" for tp in sorted(assigned))
        log.info("partitions: %s", names or "none")
        assert self._wiring is not None
        self.assignment = Assignment(assigned, self._wiring)
        self.assignment.begin()

    def has(self, topic: str, partition: int) -> bool:
        """Say whether this instance has a partition now."""
        assignment = self.assignment
        return assignment is not None and TopicPartition(topic, partition) in assignment.live

    async def is_done(self) -> bool:
        """Say whether the group has acknowledged what stood on both topics when first asked.

        Not what stands there now: a shop that publishes all the time would never be done.
        """
        if self._wiring is None:
            return False
        if not self._ends:
            group = self._wiring.group
            tps = [
                TopicPartition(topic, partition)
                for topic in (ITEMS.name, ITEMS_BACKFILL.name)
                for partition in group.partitions_for_topic(topic) or ()
            ]
            self._ends = dict(await group.end_offsets(tps))
        committed = await self._committed()
        return bool(self._ends) and all(
            not end or (tp in committed and committed[tp].offset >= end)
            for tp, end in self._ends.items()
        )

    def _wire(self) -> Wiring:
        bounded: dict[str, Any] = {
            "max_partition_fetch_bytes": FETCH_BYTES,
            "fetch_max_bytes": 2 * FETCH_BYTES,
        }
        group = kafka_clients.consumer(
            self._settings,
            group_id=self._group_id,
            partition_assignment_strategy=(RangePartitionAssignor,),
            max_poll_interval_ms=600_000,  # the limit may keep us from fetching for a while
            rebalance_timeout_ms=15_000,
            **bounded,
        )
        return Wiring(
            group,
            kafka_clients.consumer(self._settings, **bounded),
            self._committed,
            self._caught_up,
            self._reconcile,
            self._handle,
            *self._limits,
            self._failed,
        )

    async def _end_assignment(self, within_s: float) -> None:
        assignment, self.assignment = self.assignment, None
        if assignment is not None:
            await assignment.end(within_s)

    async def _committed(self) -> dict[TopicPartition, OffsetAndMetadata]:
        admin = await kafka_clients.admin(self._settings)
        try:
            return dict(await admin.list_consumer_group_offsets(self._group_id))
        finally:
            await admin.close()
