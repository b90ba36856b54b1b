"""Open the demo shop: publish its catalogue and its past, wait until both are served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from freshet import Client, Event, Item, Publisher
from services.cli.demo import catalogue, shoppers
from services.cli.lag import until_served
from services.cli.terminal import Bars
from shared.clock import now_ms

APPLIED_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class OpenedShop:
    """What was published, and what shoppers find next, which was not."""

    items: Sequence[Item]
    events: Sequence[Event]
    finds: Sequence[Event]


async def open_shop(console: Console, publisher: Publisher, client: Client) -> OpenedShop:
    """Publish items and events and return once lists are made of them.

    Raises TimeoutError when the services do not get there.
    """
    with Bars(console) as bars:
        items = await _publish_items(publisher, bars)
        bar = bars.add("encoding pictures and texts", total=len(items))
        await until_served(client, [item.item_id for item in items], bar.reach)
        past, finds = shoppers.last_finds(shoppers.events(items, now_ms()))
        bar = bars.add(f"clicks of {shoppers.COUNT} shoppers", total=len(past))
        published = await publisher.many(past, on_token=lambda token: bar.advance())
        for token in published.positions:
            # A state asked for with `after` waits for the event; any user will do.
            await client.state("probe", after=token, timeout=APPLIED_WITHIN_S)
    return OpenedShop(items, past, finds)


async def _publish_items(publisher: Publisher, bars: Bars) -> list[Item]:
    bar = bars.add("drawing and publishing items", total=catalogue.COUNT)
    items = []
    drawn = catalogue.items(now_ms())
    while (item := await asyncio.to_thread(next, drawn, None)) is not None:
        await publisher.item(item, backfill=True)
        items.append(item)
        bar.advance()
    return items
