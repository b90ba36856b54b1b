"""Open the demo shop: publish its catalogue and its past, wait until both are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from freshet import Client, Event, Item, Publisher
from services.cli.demo import catalogue, shoppers
from services.cli.terminal import Bars
from shared.clock import now_ms

SERVED_WITHIN_S = 180.0  # all pictures encoded, on the slowest machine we mean to run on


@dataclass(frozen=True, slots=True)
class OpenedShop:
    """What was published."""

    items: Sequence[Item]
    events: Sequence[Event]


async def open_shop(console: Console, publisher: Publisher, client: Client) -> OpenedShop:
    """Publish items and events and return once lists are made of them.

    Raises TimeoutError when the services do not get there.
    """
    with Bars(console) as bars:
        items = await _publish_items(publisher, bars)
        await _until_served(client, items, bars)
        past = list(shoppers.events(items, now_ms()))
        bar = bars.add(f"clicks of {shoppers.COUNT} shoppers", total=len(past))
        published = await publisher.many(past, on_token=lambda token: bar.advance())
        for token in published.positions:
            # A state asked for with `after` waits for the event; any user will do.
            await client.state("demo-probe", after=token, timeout=SERVED_WITHIN_S)
    return OpenedShop(items, past)


async def _publish_items(publisher: Publisher, bars: Bars) -> list[Item]:
    bar = bars.add("drawing and publishing items", total=catalogue.COUNT)
    items = []
    drawn = catalogue.items(now_ms())
    while (item := await asyncio.to_thread(next, drawn, None)) is not None:
        await publisher.item(item, backfill=True)
        items.append(item)
        bar.advance()
    return items


async def _until_served(client: Client, items: Sequence[Item], bars: Bars) -> None:
    """Wait until every item is a candidate, shown as the encoder goes."""
    bar = bars.add("encoding pictures and texts", total=len(items))
    ids = [item.item_id for item in items]
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        deadline = time.monotonic() + SERVED_WITHIN_S
        while True:
            served = len(
                await client.recommend(
                    "demo-probe", k=500, candidates=part, diversity=0.0, timeout=5.0
                )
            )
            bar.reach(start + served)
            if served == len(part):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{start + served} of {len(ids)} items can be recommended")
            await asyncio.sleep(0.2)
