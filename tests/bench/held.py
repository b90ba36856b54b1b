"""Measure for how long one request holds the event loop: `python -m tests.bench.held --help`.

In memory: a catalogue whose items have attributes, tags and titles in words, and beside the request
a clock that ticks whenever it gets a turn. What is printed, as JSON: the longest time without a
tick and the whole time of a request, in ms, the median of some rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import numpy as np

from freshet.contract.items import Item
from freshet.errors import Unavailable
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from services.ranking.live.embedding_client import EmbeddingClient, QueryVector
from services.ranking.live.state_reader import MemoryReader
from services.ranking.recommend import recommend
from services.ranking.search import search
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


def by_attributes(attributes: int, values: int, at: int) -> pb.Filters:
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
    rules = [
        pb.BoostRule(match=by_attributes(attributes, values, n), factor=1.1) for n in range(boosts)
    ]
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


class NoEmbedding(EmbeddingClient):
    """Leaves a search to the words."""

    def __init__(self) -> None:
        pass

    async def encode(self, *_: object, **__: object) -> QueryVector:
        raise Unavailable("not here")


async def measure(count: int, only: str) -> dict[str, dict[str, float]]:
    """Return the figures of each request whose name has `only` in it."""
    space, numbers, embedding = space_of(count), itertools.count(), NoEmbedding()

    def deadline() -> Deadline:
        return Deadline(time.monotonic() + 30, time.monotonic, Costs())

    def listing(request: Callable[[], pb.RecommendRequest]) -> Callable[[], Awaitable[object]]:
        return lambda: recommend(requests.recommend(request()), space, deadline())

    def filtered(filters: Callable[[], pb.Filters]) -> Callable[[], Awaitable[object]]:
        return listing(lambda: pb.RecommendRequest(user_id="u", filters=filters()))

    def searching(words: Iterable[int]) -> Callable[[], Awaitable[object]]:
        query = requests.search(pb.SearchRequest(text=" ".join(f"word{n}" for n in words)))
        return lambda: search(query, space, embedding, deadline())

    works = {
        "plain": listing(lambda: pb.RecommendRequest(user_id="u")),
        "by category": filtered(lambda: pb.Filters(categories_any=["kind-7"])),
        "by 64 tags": filtered(lambda: pb.Filters(tags_any=[f"tag-{n}" for n in range(64)])),
        "by 64 tags, new": filtered(
            lambda: pb.Filters(tags_any=[f"tag-{n}" for n in range(63)] + [str(next(numbers))])
        ),
        "by attribute": filtered(lambda: by_attributes(1, 2, 0)),
        "by attribute, new": filtered(lambda: by_attributes(1, 2, next(numbers))),
        "largest filters": filtered(lambda: by_attributes(16, 64, 0)),
        "largest filters, new": filtered(lambda: by_attributes(16, 64, next(numbers))),
        "boost by attribute": listing(lambda: boosted(1, 1, 2)),
        "largest boosts, of many conditions": listing(lambda: boosted(31, 12, 1)),
        "largest boosts, of many values": listing(lambda: boosted(10, 5, 64)),
        "search by 8 common words": searching(range(8)),
        "search by 8 rare words": searching(range(3_000, 3_008)),
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
    figures = asyncio.run(measure(given.items, given.only))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
