"""Partitions beside each other, a partition's batches in order."""

from __future__ import annotations

import asyncio

from services.sessions.faust.batches import Batch
from services.sessions.faust.worker import PartitionQueues
from tests.servers import eventually
from tests.unit.sessions.kit import batch, click


def of(partition: int, offset: int) -> Batch:
    return batch([click(offset, partition=partition)])


async def test_a_partitions_batches_go_one_after_the_other() -> None:
    seen: list[int] = []
    at_work = 0

    async def apply(one: Batch) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(0)
        seen.append(one.end)
        at_work -= 1

    queues = PartitionQueues(apply)
    for offset in range(5):
        queues.put(of(0, offset))
    await eventually(lambda: len(seen) == 5)
    assert seen == [0, 1, 2, 3, 4]
    await queues.stop()


async def test_one_partition_does_not_wait_for_another() -> None:
    gone_on = asyncio.Event()
    seen: list[int] = []

    async def apply(one: Batch) -> None:
        if one.partition == 0:
            await gone_on.wait()
        seen.append(one.partition)

    queues = PartitionQueues(apply)
    queues.put(of(0, 0))
    queues.put(of(1, 0))
    await eventually(lambda: seen)
    assert seen == [1]
    gone_on.set()
    await eventually(lambda: len(seen) == 2)
    await queues.stop()


async def test_stopping_cuts_off_what_is_in_hand() -> None:
    async def never(_: Batch) -> None:
        await asyncio.Event().wait()

    queues = PartitionQueues(never)
    for offset in range(3):
        queues.put(of(0, offset))
    await asyncio.sleep(0)
    await asyncio.wait_for(queues.stop(), 1)
