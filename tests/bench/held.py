"""Measure for how long one request holds the event loop: `python -m tests.bench.held --help`.

In memory: a catalogue whose items have attributes, tags and titles in words, and beside the request
a clock that ticks whenever it gets a turn. What is printed, as JSON: the longest time without a
tick and the whole time of a request, in ms, the median of some rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from freshet.contract.items import Item
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from services.ranking.live.item_words import words_of
from services.ranking.live.state_reader import MemoryReader
from services.ranking.recommend import recommend
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector
from shared.runtime.deadline import Costs, Deadline

DIM: Final = 64
ROUNDS: Final = 15
ATTRIBUTES: Final = 5  # of an item
WORDS: Final = 5_000
EMPTY: Final = np.empty(0, np.float16)


def space_of(count: int) -> ServingSpace:
    """Return a space of so many items, no two of them with the same tags or title."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = (WORDS * rng.random((count, 8)) ** 3).astype(int)  # a few common, most of them rare
    tags = rng.integers(0, 40, (count, 5))
    values = rng.integers(0, 1_000, (count, ATTRIBUTES))

    def change(n: int) -> Change:
        item = Item(
            item_id=f"item-{n}",
            title=" ".join(f"word{word}" for word in words[n]),
            categories=(f"kind-{n % 200}", f"group-{n % 12}"),
            tags=tuple(dict.fromkeys(f"tag-{tag}" for tag in tags[n].tolist())),
            attributes={f"name-{m}": float(values[n, m]) for m in range(ATTRIBUTES)},
            price=float(n % 500),
        )
        vector = vectors[n].astype(np.float16)
        encoded = ItemVector(
            item_id=item.item_id,
            space="held",
            vector=vector,
            image_vector=EMPTY,
            text_vector=EMPTY,
            content_hash=b"",
            item=item,
            version=1,
            arrived_ms=n,
            encoded_ms=n,
        )
        return Change(item.item_id, 1, encoded)

    catalogue = Catalogue("held", DIM)
    space = ServingSpace.build(catalogue, MemoryReader(), RankingSettings(), now_ms=lambda: count)
    for start in range(0, count, 1_000):
        catalogue.apply(map(change, range(start, min(count, start + 1_000))))
    return space


def filters(attributes: int, values: int, at: int) -> pb.Filters:
    """Return filters by attributes that few other calls ask for."""
    return pb.Filters(
        attributes=[
            pb.AttributeFilter(
                name=f"name-{n % ATTRIBUTES}",
                any_of=[item_pb2.Attribute(number=at + n + m) for m in range(values)],
            )
            for n in range(attributes)
        ]
    )


def boosted(boosts: int, attributes: int, values: int) -> pb.RecommendRequest:
    """Return a request with boosts by attributes."""
    rules = [pb.BoostRule(match=filters(attributes, values, n), factor=1.1) for n in range(boosts)]
    return pb.RecommendRequest(user_id="u", rules=pb.Rules(boosts=rules))


async def held(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the longest time without a turn for others, and the whole time, in ms."""
    longest, last = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    longest, began = 0.0, time.perf_counter()
    await work()
    took = time.perf_counter() - began
    await asyncio.sleep(0)
    ticking.cancel()
    return 1e3 * longest, 1e3 * took


async def measure(count: int, only: str) -> dict[str, dict[str, float]]:
    space = space_of(count)

    def listing(request: pb.RecommendRequest) -> Callable[[], Awaitable[object]]:
        async def work() -> None:
            deadline = Deadline(time.monotonic() + 30, time.monotonic, Costs())
            await recommend(requests.recommend(request), space, deadline)

        return work

    common = " ".join(f"word{n}" for n in range(8))
    rare = " ".join(f"word{n}" for n in range(3_000, 3_008))
    few = pb.Filters(categories_any=["kind-7"])
    tags = pb.Filters(tags_any=[f"tag-{n}" for n in range(64)])
    works = {
        "plain": listing(pb.RecommendRequest(user_id="u")),
        "by category": listing(pb.RecommendRequest(user_id="u", filters=few)),
        "by 64 tags": listing(pb.RecommendRequest(user_id="u", filters=tags)),
        "by attribute": listing(pb.RecommendRequest(user_id="u", filters=filters(1, 2, 0))),
        "boost by attribute": listing(boosted(1, 1, 2)),
        "largest filters": listing(pb.RecommendRequest(user_id="u", filters=filters(16, 64, 0))),
        "16 boosts of 4 attributes": listing(boosted(16, 4, 16)),
        "largest boosts": listing(boosted(32, 16, 64)),
        "8 common words": lambda: space.words.matched(words_of(common)),
        "8 rare words": lambda: space.words.matched(words_of(rare)),
    }
    figures = {}
    for name, work in works.items():
        if only in name:
            rounds = [await held(work) for _ in range(ROUNDS)]
            longest, took = (statistics.median(column) for column in zip(*rounds, strict=True))
            figures[name] = {"held_ms": round(longest, 2), "took_ms": round(took, 2)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--only", default="", help="requests whose name has this in it")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.items, given.only)), indent=2))


if __name__ == "__main__":
    main()
