"""The transport's parts, aiokafka's consumer being a list here and Faust's thread the test's.

What Faust and aiokafka make of it together stands in tests/integration/sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import faust
import pytest
from aiokafka.errors import IllegalStateError, OffsetOutOfRangeError
from faust.types import TP

from services.sessions.faust.batches import Batch
from services.sessions.faust.consumer import BatchConsumer, BatchTransport
from tests.unit.sessions.kit import TOPIC, click

ONE, TWO = TP(TOPIC, 0), TP(TOPIC, 1)


class FakeConsumer:
    """What the transport touches of aiokafka's consumer and its fetcher."""

    def __init__(self) -> None:
        self.assigned = {ONE, TWO}
        self.position: dict[TP, int] = {}
        self.end = 10
        self.out_of_range: set[TP] = set()
        self._closed = False
        self._max_poll_records = 4
        self._fetcher = self._subscriptions = self

    def assignment(self) -> set[TP]:
        return self.assigned

    @contextlib.contextmanager
    def fetch_context(self) -> Iterator[None]:
        yield

    def seek(self, tp: TP, offset: int) -> None:
        if tp not in self.assigned:
            raise IllegalStateError(f"{tp} is not assigned")
        self.position[tp] = offset

    async def fetched_records(
        self, partitions: set[TP], *, max_records: int, **_: float
    ) -> dict[TP, list[Any]]:
        assert partitions, "aiokafka would take this for every partition"
        if gone := partitions & self.out_of_range:
            raise OffsetOutOfRangeError({tp: self.position[tp] for tp in gone})
        found = {}
        for tp in sorted(partitions):
            first = self.position[tp]
            last = min(first + max_records, self.end)
            if last > first:
                found[tp] = [click(n, partition=tp.partition) for n in range(first, last)]
                self.position[tp] = last
        return found


@pytest.fixture
async def consumer() -> AsyncIterator[BatchConsumer]:
    app = faust.App("test", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    app._transport = BatchTransport(
        app, lambda **_: None, batch_at_most=4, on_waiting=asyncio.Event().set
    )
    made = app.consumer
    assert isinstance(made, BatchConsumer)
    thread: Any = made._thread

    async def call_here(function: Any, *args: Any, **options: Any) -> Any:
        return await function(*args, **options)

    thread.call_thread = call_here
    thread._consumer = FakeConsumer()
    yield made
    thread.thread_loop.close()


def fake(consumer: BatchConsumer) -> FakeConsumer:
    found = consumer._thread._consumer
    assert isinstance(found, FakeConsumer)
    return found


async def fetch(consumer: BatchConsumer) -> list[Batch]:
    return sorted(await consumer._thread.fetch(consumer.assignment(), 0.01))


def offsets(batch: Batch) -> list[int]:
    return [record.offset for record in batch.records]


async def test_nothing_is_fetched_before_a_partition_is_read(consumer: BatchConsumer) -> None:
    assert consumer.waiting() == {ONE, TWO}
    assert await fetch(consumer) == []


async def test_a_fetch_gives_one_batch_a_partition_and_the_next_goes_on(
    consumer: BatchConsumer,
) -> None:
    await consumer.start_reading(ONE, 3, 3)
    await consumer.start_reading(TWO, 0, 0)
    first = await fetch(consumer)
    assert [(b.partition, b.start, offsets(b)) for b in first] == [
        (0, 3, [3, 4, 5, 6]),
        (1, 0, [0, 1, 2, 3]),
    ]
    second = await fetch(consumer)
    assert [(b.partition, b.start, offsets(b)) for b in second] == [
        (0, 7, [7, 8, 9]),
        (1, 4, [4, 5, 6, 7]),
    ]
    assert consumer.next_offset(ONE) == 10


async def test_the_first_record_of_a_reading_is_read_even_at_offset_zero(
    consumer: BatchConsumer,
) -> None:
    for offset in (0, 1, 9):
        await consumer.start_reading(ONE, offset, offset)
        (batch,) = await fetch(consumer)
        assert offsets(batch)[0] == offset


async def test_a_batch_that_starts_behind_a_hole_says_so(consumer: BatchConsumer) -> None:
    """The log begins at 5: what stood before is gone, and nothing else is left out."""
    await consumer.start_reading(ONE, 2, 5)
    (batch,) = await fetch(consumer)
    assert (batch.start, offsets(batch)[0]) == (2, 5)


async def test_to_stop_reading_disowns_what_was_fetched(consumer: BatchConsumer) -> None:
    await consumer.start_reading(ONE, 0, 0)
    (batch,) = await fetch(consumer)
    assert consumer.is_current(batch)
    consumer.stop_reading({ONE})
    assert not consumer.is_current(batch)
    assert consumer.waiting() == {ONE, TWO}
    await consumer.start_reading(ONE, 0, 0)
    assert not consumer.is_current(batch)  # the same offsets, but another reading


async def test_a_partition_that_is_lost_is_not_read(consumer: BatchConsumer) -> None:
    fake(consumer).assigned = {TWO}
    assert not await consumer.start_reading(ONE, 0, 0)
    assert await consumer.start_reading(TWO, 0, 0)
    assert consumer.next_offset(ONE) is None


async def test_an_offset_that_the_log_does_not_hold_stops_the_reading(
    consumer: BatchConsumer,
) -> None:
    """Never a silent jump to where the log begins or ends."""
    await consumer.start_reading(ONE, 0, 0)
    await consumer.start_reading(TWO, 0, 0)
    fake(consumer).out_of_range = {ONE}
    assert [batch.partition for batch in await fetch(consumer)] == [1]
    assert consumer.waiting() == {ONE}


async def test_records_from_before_the_start_offset_stop_the_reading(
    consumer: BatchConsumer,
) -> None:
    """A rebalance put aiokafka back to committed offsets behind this module's back."""
    await consumer.start_reading(ONE, 5, 5)
    fake(consumer).position[ONE] = 2
    assert await fetch(consumer) == []
    assert consumer.waiting() == {ONE, TWO}


async def test_a_rebalance_starts_no_reading_before_it_ends(consumer: BatchConsumer) -> None:
    consumer.stop_flow()
    assert consumer.waiting() == set()
    consumer.resume_flow()
    assert consumer.waiting() == {ONE, TWO}


async def test_where_faust_seeks_the_partitions_wait(consumer: BatchConsumer) -> None:
    await consumer.start_reading(ONE, 4, 4)
    await consumer.perform_seek()
    assert consumer.waiting() == {ONE, TWO}


async def test_batches_that_are_done_are_committed_up_to_their_end(
    consumer: BatchConsumer,
) -> None:
    await consumer.start_reading(ONE, 0, 0)
    (first,) = await fetch(consumer)
    (second,) = await fetch(consumer)
    assert consumer._new_offset(ONE) is None
    consumer.done(first)
    assert consumer._new_offset(ONE) == 4
    assert consumer._new_offset(ONE) is None  # said once
    consumer.done(second)
    assert consumer._new_offset(ONE) == 8


async def test_a_disowned_batch_is_not_committed(consumer: BatchConsumer) -> None:
    await consumer.start_reading(ONE, 0, 0)
    (batch,) = await fetch(consumer)
    consumer.stop_reading({ONE})
    await consumer.start_reading(ONE, 0, 0)
    consumer.done(batch)
    assert consumer._new_offset(ONE) is None


async def test_what_faust_acknowledges_by_itself_commits_nothing_and_piles_up_nowhere(
    consumer: BatchConsumer,
) -> None:
    """Faust acknowledges a message that it skipped, too."""
    consumer._acked[ONE].append(7)
    consumer._acked_index[ONE].add(7)
    assert consumer._new_offset(ONE) is None
    assert ONE not in consumer._acked
    assert ONE not in consumer._acked_index


async def test_a_partition_with_much_to_read_leaves_the_others_their_turn(
    consumer: BatchConsumer,
) -> None:
    await consumer.start_reading(ONE, 0, 0)
    await consumer.start_reading(TWO, 0, 0)
    assert [len(batch.records) for batch in await fetch(consumer)] == [4, 4]  # at most 4 each


async def test_a_partition_with_two_batches_under_way_is_not_fetched_from(
    consumer: BatchConsumer,
) -> None:
    got: list[Batch] = []
    fetcher = type("Fetcher", (), {"should_stop": False})()

    async def take(message: Any) -> None:
        got.append(message.value)
        if message.value.partition == 1:
            consumer.done(message.value)
        fetcher.should_stop = consumer.next_offset(TWO) == 10

    consumer.callback = take
    await consumer.start_reading(ONE, 0, 0)
    await consumer.start_reading(TWO, 0, 0)
    await asyncio.wait_for(consumer._drain_messages(fetcher), 5)
    assert [batch.start for batch in got if batch.partition == 0] == [0, 4]  # 8 waits for room
    assert [batch.start for batch in got if batch.partition == 1] == [0, 4, 8]


async def test_batches_reach_the_callback_in_order_and_only_current_ones(
    consumer: BatchConsumer,
) -> None:
    """The loop that Faust's fetcher runs, until it is told to stop."""
    got: list[Batch] = []
    fetcher = type("Fetcher", (), {"should_stop": False})()

    async def take(message: Any) -> None:
        got.append(message.value)
        assert not consumer.is_idle(ONE)  # until its last batch is done
        consumer.done(message.value)
        if message.value.partition == 0 and len(got) == 1:
            consumer.stop_reading({TWO})  # while its batch waits behind this one
        if message.value.end == 9:
            fetcher.should_stop = True

    consumer.callback = take
    await consumer.start_reading(ONE, 0, 0)
    await consumer.start_reading(TWO, 0, 0)
    await asyncio.wait_for(consumer._drain_messages(fetcher), 5)
    assert [(batch.partition, batch.start) for batch in got] == [(0, 0), (0, 4), (0, 8)]
    assert consumer.is_idle(ONE)


async def test_a_batch_that_a_rebalance_cuts_off_is_fetched_again(consumer: BatchConsumer) -> None:
    fetcher = type("Fetcher", (), {"should_stop": False})()

    async def hang(_: Any) -> None:
        consumer.stop_flow()
        fetcher.should_stop = True
        await asyncio.sleep(60)

    consumer.callback = hang
    await consumer.start_reading(ONE, 0, 0)
    await asyncio.wait_for(consumer._drain_messages(fetcher), 5)
    assert consumer.next_offset(ONE) is None
