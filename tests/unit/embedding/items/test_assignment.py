"""One assignment: what is taken, what is acknowledged, when it gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from services.embedding.items import assignment as assignments
from services.embedding.items.assignment import Assignment, Wiring
from services.embedding.items.progress import UNAWARE_MS
from shared.clock import now_ms
from shared.runtime.byte_limit import ByteLimit
from shared.runtime.topic_reader import Stuck
from tests.servers import eventually
from tests.unit.embedding.items.world import Consumed

LIVE, BACKFILL = TopicPartition("items", 0), TopicPartition("items-backfill", 0)
ADDED = TopicPartition("items", 1)
TODAY_MS = now_ms()


class Consumer:
    """A consumer of records that the test puts there."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Consumed]] = {LIVE: [], BACKFILL: [], ADDED: []}
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.commits: list[dict[TopicPartition, tuple[int, str]]] = []
        self.commit_fails = False
        self.stuck = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1} if topic == ADDED.topic else {0}

    def put(self, tp: TopicPartition, *offsets: int) -> None:
        self.logs[tp] += [Consumed(tp.topic, offset, TODAY_MS, b"k", b"v") for offset in offsets]

    def pause(self, *tps: TopicPartition) -> None:
        self.paused |= set(tps)

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        self.positions |= dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Consumed]]:
        await asyncio.sleep(0.001)
        found = {}
        for tp in tps:
            at = self.positions.setdefault(tp, 0)
            batch = [r for r in self.logs[tp] if r.offset >= at][:max_records]
            if batch and not self.stuck:
                self.positions[tp] = batch[-1].offset + 1
                found[tp] = batch
        return found

    async def position(self, tp: TopicPartition) -> int:
        return self.positions.get(tp, 0)

    def highwater(self, tp: TopicPartition) -> int:
        return self.end(tp)

    def last_poll_timestamp(self, tp: TopicPartition) -> int:
        return TODAY_MS

    def end(self, tp: TopicPartition) -> int:
        return self.logs[tp][-1].offset + 1 if self.logs[tp] else 0

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.end(tp) for tp in tps}

    async def commit(self, commits: dict[TopicPartition, tuple[int, str]]) -> None:
        if self.commit_fails:
            raise CommitFailedError("rebalance")
        self.commits.append(commits)

    def committed(self, tp: TopicPartition) -> int | None:
        found = [commits[tp][0] for commits in self.commits if tp in commits]
        return found[-1] if found else None


class Kit:
    """An assignment among doubles."""

    def __init__(
        self,
        *tps: TopicPartition,
        old: dict[TopicPartition, OffsetAndMetadata] | None = None,
    ) -> None:
        self.consumer = Consumer()
        self.old = old or {}
        self.hold: dict[int, asyncio.Event] = {}
        self.handled: list[tuple[str, int]] = []
        self.reconciled = 0
        self.reconciling = asyncio.Event()  # set: it takes no time
        self.reconciling.set()
        self.failures: list[BaseException] = []
        self.limit = ByteLimit(10**9)
        wiring = Wiring(
            self.consumer,
            self.consumer,
            self._committed,
            self._caught_up,
            self._reconcile,
            self._handle,
            self.limit,
            ByteLimit(10**9),
            self.failures.append,
        )
        self.assignment = Assignment(tps or [LIVE, BACKFILL], wiring)

    async def _committed(self) -> dict[TopicPartition, OffsetAndMetadata]:
        return self.old

    async def _caught_up(self, partitions: set[int]) -> None:
        assert partitions == {tp.partition for tp in self.assignment.live}

    async def _reconcile(self) -> int:
        self.reconciled += 1
        await self.reconciling.wait()
        return 0

    async def _handle(self, record: Consumed) -> None:
        if record.offset in self.hold:
            await self.hold[record.offset].wait()
        self.handled.append((record.topic, record.offset))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignments, "COMMIT_EVERY_S", 0.005)
    monkeypatch.setattr(assignments, "CHECK_S", 0.005)


async def test_both_topics_are_handled_and_acknowledged() -> None:
    kit = Kit()
    kit.consumer.put(LIVE, 0, 1, 2)
    kit.consumer.put(BACKFILL, 0)
    kit.assignment.begin()
    assert kit.consumer.paused == {BACKFILL}  # the group never fetches it
    await eventually(lambda: kit.consumer.committed(LIVE) == 3)
    await eventually(lambda: kit.consumer.committed(BACKFILL) == 1)
    await kit.assignment.end(1)
    assert kit.failures == []


async def test_unfinished_record_is_not_acknowledged_nor_what_is_behind_it() -> None:
    kit = Kit()
    kit.hold[1] = asyncio.Event()
    kit.consumer.put(LIVE, 0, 1, 2, 3)
    kit.assignment.begin()
    await eventually(lambda: len(kit.handled) == 3)
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    await kit.assignment.end(0)
    assert kit.consumer.committed(LIVE) == 1
    assert kit.limit.used_bytes == 0


async def test_what_is_under_way_is_finished_at_the_end_if_there_is_time() -> None:
    kit = Kit()
    kit.hold[0] = asyncio.Event()
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.assignment.in_flight)
    ending = asyncio.create_task(kit.assignment.end(5))
    await asyncio.sleep(0.02)
    kit.hold[0].set()
    await ending
    assert kit.consumer.committed(LIVE) == 1


async def test_reading_goes_on_where_the_group_acknowledged() -> None:
    now = str(TODAY_MS)
    old = {LIVE: OffsetAndMetadata(1, now), BACKFILL: OffsetAndMetadata(2, now)}
    kit = Kit(old=old)
    kit.consumer.put(LIVE, 0, 1)
    kit.consumer.put(BACKFILL, 0, 1, 2)
    kit.consumer.seek(LIVE, 1)  # the group's own consumer seeks by itself
    kit.assignment.begin()
    await eventually(lambda: len(kit.handled) == 2)
    await kit.assignment.end(1)
    assert sorted(kit.handled) == [("items", 1), ("items-backfill", 2)]
    assert kit.reconciled == 0


@pytest.mark.parametrize(
    ("days", "times"), [(5.9, 0), (6.1, 1)], ids=["five days", "over six days"]
)
async def test_after_six_days_away_missed_deletes_are_looked_for(days: float, times: int) -> None:
    seen = str(int(TODAY_MS - days * 86_400_000))
    kit = Kit(old={LIVE: OffsetAndMetadata(0, seen), BACKFILL: OffsetAndMetadata(0, seen)})
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    await kit.assignment.end(1)
    assert kit.reconciled == times


async def acknowledged(kit: Kit, tp: TopicPartition) -> str:
    """Let an assignment run until a partition's commit, end it, and return the metadata."""
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.committed(tp) is not None)
    await kit.assignment.end(1)
    return kit.consumer.commits[-1][tp][1]


@pytest.mark.parametrize(
    ("metadata", "times"),
    [
        (f"{TODAY_MS}/1", 0),  # then there was one partition alone
        (f"{TODAY_MS}/2", 1),  # the other one was there and is not acknowledged: who knows why
        (f"{TODAY_MS - 7 * 86_400_000}/1", 1),  # added while nobody was reading
        (str(TODAY_MS), 1),  # of 0.2
    ],
    ids=["added", "never read", "added while away", "of 0.2"],
)
async def test_for_a_partition_that_was_added_nothing_else_is_read_again(
    metadata: str, times: int
) -> None:
    kit = Kit(ADDED, old={LIVE: OffsetAndMetadata(0, metadata)})
    kit.consumer.put(ADDED, 0)
    complete_ms, _, partitions = (await acknowledged(kit, ADDED)).partition("/")
    assert kit.reconciled == times
    assert partitions == "2"
    assert int(complete_ms) >= TODAY_MS - UNAWARE_MS
    assert kit.handled == [("items", 0)]


async def test_commits_go_on_while_missed_deletes_are_looked_for() -> None:
    kit = Kit()
    kit.reconciling.clear()
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    assert kit.reconciled == 1
    kit.consumer.put(LIVE, 1)
    await eventually(lambda: kit.consumer.committed(LIVE) == 2)
    assert kit.consumer.commits[-1][LIVE][1] == "0/2"  # deletes may be missing still
    await kit.assignment.end(1)


async def test_another_log_than_the_one_acknowledged_counts_as_never_read() -> None:
    now = str(TODAY_MS)
    kit = Kit(old={LIVE: OffsetAndMetadata(99, now), BACKFILL: OffsetAndMetadata(99, now)})
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    await kit.assignment.end(1)
    assert kit.reconciled == 1


async def test_commit_that_failed_is_made_again() -> None:
    kit = Kit()
    kit.consumer.commit_fails = True
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.handled)
    await asyncio.sleep(0.03)
    kit.consumer.commit_fails = False
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    await kit.assignment.end(1)


async def test_consumer_that_is_stuck_ends_the_service() -> None:
    kit = Kit()
    kit.consumer.stuck = True
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.failures)
    (failure,) = kit.failures
    assert isinstance(failure, ExceptionGroup)
    assert isinstance(failure.exceptions[0], Stuck)
    await kit.assignment.end(0)


async def test_slow_record_is_not_taken_for_a_stuck_consumer() -> None:
    kit = Kit()
    kit.hold[0] = asyncio.Event()
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await asyncio.sleep(0.15)
    assert kit.failures == []
    await kit.assignment.end(0)


async def test_defect_in_handling_is_heard_of() -> None:
    kit = Kit()

    async def defective(record: Consumed) -> None:
        raise ZeroDivisionError

    object.__setattr__(kit.assignment._wiring, "handle", defective)
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.failures)
    await kit.assignment.end(0)
    assert kit.consumer.committed(LIVE) in (None, 0)


async def test_markers_that_nobody_is_given_are_passed() -> None:
    kit = Kit()
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    kit.consumer.seek(LIVE, 2)  # a transaction's marker stood at 1
    await eventually(lambda: kit.consumer.committed(LIVE) == 2)
    await kit.assignment.end(1)


async def test_what_waits_for_the_limit_is_not_passed() -> None:
    kit = Kit()
    object.__setattr__(kit.assignment._wiring, "live_limit", ByteLimit(1))
    await kit.assignment._wiring.live_limit.acquire(1)  # somebody else holds all of it
    kit.consumer.put(LIVE, 0)
    kit.assignment.begin()
    await eventually(lambda: kit.consumer.positions.get(LIVE) == 1)
    await asyncio.sleep(0.05)
    assert kit.consumer.committed(LIVE) == 0
    kit.assignment._wiring.live_limit.release(1)
    await eventually(lambda: kit.consumer.committed(LIVE) == 1)
    await kit.assignment.end(1)
