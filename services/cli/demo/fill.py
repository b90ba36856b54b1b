"""Open the demo shop: publish its catalogue and its past, wait until both are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.structs import RecordMetadata
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.publisher import Publisher, token
from freshet.v1.recommender_pb2 import RecommendRequest, StateRequest
from services.cli.demo import catalogue, shoppers

if TYPE_CHECKING:
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

SERVED_WITHIN_S = 180.0  # all pictures encoded, on the slowest machine we mean to run on


@dataclass(frozen=True, slots=True)
class OpenedShop:
    """What was published."""

    items: Sequence[Item]
    events: Sequence[Event]


async def open_shop(
    console: Console, publisher: Publisher, ranking: RecommenderAsyncStub
) -> OpenedShop:
    """Publish items and events and return once lists are made of them.

    Raises TimeoutError when the services do not get there.
    """
    columns = (
        TextColumn("  {task.description:<34}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        items = await _publish_items(publisher, progress)
        await _until_served(ranking, items, progress)
        past = list(shoppers.events(items, time.time_ns() // 1_000_000))
        for where in (await _publish_events(publisher, past, progress)).values():
            # A state asked for with `after` waits for the event; any user will do.
            await _until_folded(ranking, token(where))
    return OpenedShop(items, past)


async def _publish_items(publisher: Publisher, progress: Progress) -> list[Item]:
    task = progress.add_task("drawing and publishing items", total=catalogue.COUNT)
    items = []
    drawn = catalogue.items(time.time_ns() // 1_000_000)
    while (item := await asyncio.to_thread(next, drawn, None)) is not None:
        await publisher.item(item, backfill=True)
        items.append(item)
        progress.advance(task)
    return items


async def _until_served(
    ranking: RecommenderAsyncStub, items: Sequence[Item], progress: Progress
) -> None:
    """Wait until every item is a candidate, shown as the encoder goes."""
    task = progress.add_task("encoding pictures and texts", total=len(items))
    ids = [item.item_id for item in items]
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        request = RecommendRequest(user_id="demo-probe", k=500, candidates=part, diversity=0.0)
        deadline = time.monotonic() + SERVED_WITHIN_S
        while True:
            served = len((await ranking.Recommend(request, timeout=5.0)).items)
            progress.update(task, completed=start + served)
            if served == len(part):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{start + served} of {len(ids)} items can be recommended")
            await asyncio.sleep(0.2)


async def _publish_events(
    publisher: Publisher, past: Sequence[Event], progress: Progress
) -> dict[int, RecordMetadata]:
    """Publish the shop's past; returns each partition's last event."""
    task = progress.add_task(f"clicks of {shoppers.COUNT} shoppers", total=len(past))
    last: dict[int, RecordMetadata] = {}
    for start in range(0, len(past), 500):
        sent = [await publisher.send_event(event) for event in past[start : start + 500]]
        for where in await asyncio.gather(*sent):
            last[where.partition] = where
        progress.advance(task, len(sent))
    return last


async def _until_folded(ranking: RecommenderAsyncStub, position: str) -> None:
    request = StateRequest(user_id="demo-probe", after=position)
    await ranking.State(request, timeout=SERVED_WITHIN_S)
