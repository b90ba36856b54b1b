from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from freshet.producer import Entry, RenewedProducer
from freshet.v1 import impression_pb2
from services.ranking.live import impressions
from services.ranking.live.impressions import Impressions, Shown
from services.ranking.stages.sources import BIT
from shared.runtime import metrics
from tests.servers import eventually


class MemoryLog(RenewedProducer):
    """A producer into a list; while `broken` it fails."""

    def __init__(self) -> None:
        self.written: list[Entry] = []
        self.broken = False

    async def send_all(self, topic: str, entries: Sequence[Entry]) -> None:
        """See RenewedProducer.send_all."""
        await asyncio.sleep(0)
        if self.broken:
            raise KafkaConnectionError("no broker")
        assert topic == "impressions"
        self.written += entries


def shown(number: int = 0, k: int = 2) -> Shown:
    versions = impression_pb2.Versions(space="s", ranker="blend")
    return Shown(
        f"r{number}",
        "ann",
        ["lamp", "rug", *(f"rug-{number}-{n}" for n in range(2, k))],
        [2.5, *(1.5 / n for n in range(1, k))],
        [BIT["session"] | BIT["new"], *[0] * (k - 1)],
        [0.2, *(1 / n for n in range(1, k))],
        77,
        versions,
        ["trending_stale"],
        "home",
    )


async def test_a_list_is_written_as_it_was_shown() -> None:
    log = MemoryLog()
    waiting = Impressions(log, 1_000_000)
    waiting.add(shown())
    await waiting.flush()
    ((key, value, headers),) = log.written
    assert key == b"ann"
    assert headers == [("content-type", b"application/protobuf")]
    written = impression_pb2.Impression.FromString(value or b"")
    assert written.request_id == "r0"
    assert [(i.item_id, i.position, i.score, i.propensity) for i in written.items] == [
        ("lamp", 0, 2.5, pytest.approx(0.2)),
        ("rug", 1, 1.5, 1.0),
    ]
    assert list(written.items[0].sources) == ["session", "new"]
    assert (written.time_ms, written.surface) == (77, "home")
    assert list(written.degraded) == ["trending_stale"]


async def test_a_list_that_the_topic_finds_too_large_is_dropped_and_holds_up_no_other() -> None:
    class NarrowLog(MemoryLog):
        async def send_all(self, topic: str, entries: Sequence[Entry]) -> None:
            if any(len(entry.value or b"") > 1_000 for entry in entries):
                raise MessageSizeTooLargeError
            await super().send_all(topic, entries)

    waiting = Impressions(log := NarrowLog(), 1_000_000)
    before = metrics.IMPRESSIONS_DROPPED._value.get()
    for number, k in enumerate((2, 200, 2)):
        waiting.add(shown(number, k))
    await waiting.flush()
    written = [impression_pb2.Impression.FromString(entry.value or b"") for entry in log.written]
    assert [one.request_id for one in written] == ["r0", "r2"]
    assert (len(waiting), metrics.IMPRESSIONS_DROPPED._value.get()) == (0, before + 1)


async def test_a_full_buffer_drops_what_comes_and_counts_it() -> None:
    waiting = Impressions(MemoryLog(), 3 * shown().bytes_held() - 1)
    before = metrics.IMPRESSIONS_DROPPED._value.get()
    for number in range(5):
        waiting.add(shown(number))
    assert len(waiting) == 2
    assert metrics.IMPRESSIONS_DROPPED._value.get() == before + 3
    await waiting.flush()
    for number in range(5):
        waiting.add(shown(number))
    assert len(waiting) == 2


@pytest.mark.parametrize("k", [1, 50, 500])
async def test_what_waits_takes_no_more_memory_than_it_may(k: int) -> None:
    waiting = Impressions(MemoryLog(), 4 * 1024 * 1024)
    tracemalloc.start()
    before, number = metrics.IMPRESSIONS_DROPPED._value.get(), 0
    while metrics.IMPRESSIONS_DROPPED._value.get() == before:
        waiting.add(shown(number, k))
        number += 1
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4 * 1024 * 1024
    assert len(waiting) == number - 1


async def test_while_kafka_is_gone_impressions_wait_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(impressions, "FLUSH_EVERY_S", 0.001)
    monkeypatch.setattr(impressions, "RETRY_S", 0.001)
    log = MemoryLog()
    log.broken = True
    waiting = Impressions(log, 1_000_000)
    running = asyncio.create_task(waiting.run())
    for number in range(40):
        waiting.add(shown(number))
    await asyncio.sleep(0.02)
    assert len(waiting) == 40
    log.broken = False
    await eventually(lambda: len(waiting) == 0, what="an empty buffer")
    running.cancel()
    written = [
        impression_pb2.Impression.FromString(value or b"").request_id for _, value, _ in log.written
    ]
    assert written == [f"r{number}" for number in range(40)]


async def test_what_waits_at_the_end_is_written_or_counted() -> None:
    log = MemoryLog()
    waiting = Impressions(log, 1_000_000)
    waiting.add(shown())
    await waiting.close()
    assert len(log.written) == 1
    lost = Impressions(log, 1_000_000)
    lost.add(shown())
    log.broken = True
    before = metrics.IMPRESSIONS_DROPPED._value.get()
    await lost.close()
    assert metrics.IMPRESSIONS_DROPPED._value.get() == before + 1
