"""Let simulated shoppers go on clicking, gently, so that the demo lives while somebody looks."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final, NoReturn

from freshet import Client, Event, FreshetError, KafkaSettings, Publisher
from services.cli.demo import shoppers

CLICKS_PER_S: Final = 4.0  # of all together: less than a hundredth of a core
_TYPES: Final = ("view", "click", "like", "cart")
_TYPE_WEIGHTS: Final = (40, 50, 7, 3)


async def go_on(kafka: KafkaSettings, ranking_address: str, rng: Random) -> NoReturn:
    """Let one shopper after the other look at a list and choose from it, the upper items more."""
    async with (
        Client(ranking_address, tls=False, timeout=2.0) as client,
        Publisher(kafka) as publisher,
    ):
        while True:
            await asyncio.sleep(rng.expovariate(CLICKS_PER_S))
            user_id = f"shopper-{rng.randrange(shoppers.COUNT)}"
            try:
                listed = await client.recommend(user_id)
                if listed:
                    await publisher.event(visit(user_id, [each.item_id for each in listed], rng))
            except FreshetError:
                continue  # what is away comes back, and the page says so


def visit(user_id: str, item_ids: list[str], rng: Random) -> Event:
    """Return what a shopper does with a list."""
    weights = [1 / (1 + rank) for rank in range(len(item_ids))]
    return Event(
        user_id=user_id,
        item_id=rng.choices(item_ids, weights)[0],
        type=rng.choices(_TYPES, _TYPE_WEIGHTS)[0],
    )
