"""Missed deletes: only what no topic holds, and only what has not changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.reconcile import Reconciler
from services.embedding.items.versions import Stated, deleted_unseen
from shared.catalogue.versions import UNSTATED, LogPlace, RecordVersion
from tests.unit.embedding.items.world import Consumed


def stated(time_ms: int) -> Stated:
    """Return what an item of `items` without `updated_ms` states."""
    place = LogPlace(time_ms, True, 0)
    return Stated(RecordVersion(place, UNSTATED, place), time_ms)


class Topics:
    """What the topics hold; stands in for the reader of a topic."""

    def __init__(self) -> None:
        self.held: dict[str, list[Consumed]] = {}
        self.while_reading: Callable[[], None] = lambda: None

    def put(self, topic: str, key: str, value: bytes | None = b"x", partition: int = 0) -> None:
        record = Consumed(topic, 0, 0, key.encode(), value, partition=partition)
        self.held.setdefault(topic, []).append(record)

    async def scan(self, topic: str, take: Callable[[Sequence[Any]], None]) -> None:
        self.while_reading()
        take(self.held.get(topic, []))


class Kit:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topics = Topics()
        self.latest = LatestVersions()
        self.partitions = ItemPartitions(1, 1)
        self.partitions.own({0})
        self.deleted: list[tuple[str, RecordVersion]] = []
        self.reconciler = Reconciler(
            lambda *_: None, "item-vectors.test", self.partitions, self.latest, self._publish
        )
        monkeypatch.setattr(self.reconciler, "_scan", self.topics.scan)

    async def _publish(
        self, item_id: str, value: None, version: RecordVersion, origin: None, arrived_ms: int
    ) -> None:
        self.deleted.append((item_id, version))

    def has(self, item_id: str, time_ms: int = 100, alive: bool = True) -> None:
        self.latest.observe(item_id, stated(time_ms), alive, 0, 0)
        self.topics.put("item-vectors.test", item_id)


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Kit:
    return Kit(monkeypatch)


async def test_item_that_no_topic_holds_is_deleted_with_the_next_version(kit: Kit) -> None:
    kit.has("gone")
    kit.has("live")
    kit.has("backfilled")
    kit.topics.put("items", "live")
    kit.topics.put("items-backfill", "backfilled")
    assert await kit.reconciler.run() == 1
    assert kit.deleted == [("gone", deleted_unseen(100))]
    assert kit.deleted[0][1] > stated(100).version


async def test_null_that_still_stands_there_means_not_held(kit: Kit) -> None:
    kit.has("gone")
    kit.topics.put("items", "gone")
    kit.topics.put("items", "gone", None)
    assert await kit.reconciler.run() == 1


async def test_null_on_one_partition_does_not_hide_the_item_on_another(kit: Kit) -> None:
    kit.has("moved")
    kit.topics.put("items", "moved", partition=0)
    kit.topics.put("items", "moved", None, partition=1)
    assert await kit.reconciler.run() == 0


async def test_item_that_changed_while_reading_is_not_judged(kit: Kit) -> None:
    kit.has("renewed")
    kit.topics.while_reading = lambda: kit.latest.observe("renewed", stated(200), True, 0, 1)
    assert await kit.reconciler.run() == 0


async def test_item_of_another_instance_is_left_to_it(kit: Kit) -> None:
    kit.has("gone")
    kit.partitions.own(set())
    assert await kit.reconciler.run() == 0


async def test_deleted_items_and_an_empty_catalogue_need_no_reading(kit: Kit) -> None:
    kit.has("dead", alive=False)
    kit.topics.while_reading = lambda: pytest.fail("nothing to be compared")
    assert await kit.reconciler.run() == 0
