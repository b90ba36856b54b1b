"""What Faust does wrong and the transport works around: when a test here fails, Faust has changed.

Then see whether the work-around (services/sessions/faust/consumer.py) can go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import faust
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

TOPIC = "clicks"
HERE = TP(TOPIC, 0)


@pytest.fixture
async def stock() -> AsyncIterator[driver.Consumer]:
    app = faust.App("test", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    made: Any = app.consumer
    app.topics.acking_topics.add(TOPIC)
    yield made
    made._thread.thread_loop.close()


def message(offset: int) -> ConsumerMessage:
    return ConsumerMessage(TOPIC, 0, offset, 0.0, 0, None, None, b"", None, tp=HERE)


async def test_stock_faust_commits_past_an_event_that_is_under_way(stock: driver.Consumer) -> None:
    """Event 0 is being processed, 1 to 7 are done: 8 is committed, and a crash loses event 0.

    https://github.com/faust-streaming/faust/issues/606
    """
    under_way = [message(offset) for offset in range(8)]
    for done in under_way[1:]:
        stock.ack(done)
    assert stock._new_offset(HERE) == 8


async def test_stock_faust_undoes_a_seek_made_before_it_seeks_itself(
    stock: driver.Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What on_partitions_assigned sought is gone when the rebalance ends."""
    sought: list[int] = []

    async def seek_to_committed() -> dict[TP, int]:
        sought.append(40)
        return {HERE: 40}

    monkeypatch.setattr(stock._thread, "seek", lambda _, offset: sought.append(offset))
    monkeypatch.setattr(stock._thread, "seek_to_committed", seek_to_committed)
    await stock.seek(HERE, 5)
    assert stock._read_offset[HERE] == 5
    await stock.perform_seek()
    assert sought == [5, 40]
    assert stock._read_offset[HERE] == 40


async def test_stock_fausts_read_offset_is_the_next_to_read_after_a_seek(
    stock: driver.Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the last one read otherwise: whoever drops `<= read` loses a first record."""

    async def seek_to_committed() -> dict[TP, int]:
        return {HERE: 40}

    got: list[int] = []
    stopped = type("Event", (), {"is_set": lambda _: bool(got)})()
    fetcher = type("Fetcher", (), {"_stopped": stopped})()

    async def getmany(**_: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        for offset in (40, 41):
            yield HERE, message(offset)

    async def take(taken: ConsumerMessage) -> None:
        got.append(taken.offset)

    monkeypatch.setattr(stock._thread, "seek_to_committed", seek_to_committed)
    monkeypatch.setattr(stock, "getmany", getmany)
    monkeypatch.setattr(stock, "callback", take)
    await stock.perform_seek()
    assert stock._read_offset[HERE] == 40
    await stock._drain_messages(fetcher)
    assert got == [40, 41]
    assert stock._read_offset[HERE] == 41
