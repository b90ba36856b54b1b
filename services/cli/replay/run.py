"""Replay a data set through a system that is empty: fill it, ask, tell, score."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from freshet import Client, Event, Item, Publisher
from services.cli import endpoints
from services.cli.addresses import Addresses
from services.cli.lag import until_served
from services.cli.models.publish import publish, until_active
from services.cli.replay.online import Online
from services.cli.replay.replay import replay
from services.cli.terminal import Bars
from shared.inputs import movielens

MODE: Final = "online"
ASK_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Log:
    """A data set as it is replayed: events by time, and the items that they name."""

    name: str
    events: Sequence[Event]
    items: Sequence[Item]


def read_log(folder: Path, now_ms: int, at_most: int | None = None) -> Log:
    """Read a MovieLens folder's first events, the last of all being now. Raises BadInput.

    at_most: how many; None: all.
    """
    interactions = movielens.read_interactions(folder, now_ms=now_ms, keep_times=False)
    events = list(interactions.events())[:at_most]
    named = {event.item_id for event in events}
    movies = [movielens.item_of(movie, None) for movie in movielens.read_movies(folder)]
    return Log(folder.resolve().name, events, [item for item in movies if item.item_id in named])


async def go_over(system: Online, where: Addresses, bundle: Path) -> None:
    """Publish a bundle, wait until lists are made with it, and call them by its space."""
    published = await asyncio.to_thread(publish, where, bundle, tolerance=1, force=True)
    await until_active(where, published.space, lambda behind: None)
    while await system.space() != published.space:  # noqa: ASYNC110 — ranking's, not ours
        await asyncio.sleep(ASK_AGAIN_S)
    system.served_as = published.space


async def run(
    where: Addresses,
    log: Log,
    lists: Sequence[str],
    bars: Bars,
    *,
    bundle: Path | None,
    every: int,
    seed: int,
) -> dict[str, Any]:
    """Fill an empty system and replay a log through it; return the figures as JSON has them.

    bundle: is published when half of the log is told, and answers from then on.
    """
    settings = endpoints.kafka_settings(where)
    async with Publisher(settings) as publisher, Client(where.ranking) as client:
        publishing = bars.add("publishing items", total=len(log.items))
        for item in log.items:
            await publisher.item(item, backfill=True)
            publishing.advance()
        encoding = bars.add("encoding items", total=len(log.items))
        await until_served(client, [item.item_id for item in log.items], encoding.reach)
        system = Online(publisher, client, lists)
        asking = bars.add("asking and telling", total=len(log.events))
        scores = await replay(
            log.events,
            len(log.items),
            system,
            every=every,
            seed=seed,
            progress=asking.reach,
            at_half=None if bundle is None else partial(go_over, system, where, bundle),
        )
    return {
        "data": log.name,
        "mode": MODE,
        "seed": seed,
        "events": len(log.events),
        "every": every,
        "lists": scores.result(),
    }
