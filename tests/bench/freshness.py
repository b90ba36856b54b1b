"""Measure freshness through the whole system: `python -m tests.bench.freshness --help`. JSON.

Runs `freshet up` in a folder of its own, publishes a catalogue, and then, one at a time, clicks
and new items with pictures, each timed from before it is published until its effect is in a reply.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import psutil

from freshet.channel import open_stub
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.publisher import Publisher
from freshet.v1.recommender_pb2 import RecommendRequest
from services.cli.demo import catalogue
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from tests.e2e.system import Up

if TYPE_CHECKING:
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

EFFECT_WITHIN_S = 60.0


def described(number: int) -> Item:
    """Return an item that text alone describes."""
    rng = Random(number)
    kind, style = rng.choice(KINDS), rng.choice(STYLES)
    title = f"{rng.choice(style.materials)} {rng.choice(kind.nouns)} number {number}"
    return Item(item_id=f"text-{number}", title=title, categories=(kind.name, style.name))


def pictured(number: int) -> Item:
    """Return an item with a picture that the demo shop does not have."""
    rng = Random(number)
    return catalogue.item(rng.choice(KINDS), rng.choice(STYLES), 1_000 + number)


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in ms."""
    cuts = statistics.quantiles(times_ms, n=100)
    return {name: round(cuts[at], 1) for name, at in (("p50", 49), ("p95", 94), ("p99", 98))}


async def _until_listed(stub: RecommenderAsyncStub, ids: list[str]) -> float:
    """Ask until every id is a candidate; returns the time of the reply that shows it."""
    request = RecommendRequest(user_id="probe", k=len(ids), candidates=ids, diversity=0)
    deadline = time.monotonic() + EFFECT_WITHIN_S
    while len((await stub.Recommend(request, timeout=5)).items) < len(ids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{ids[0]} and others cannot be recommended")
        await asyncio.sleep(0.002)
    return time.perf_counter()


async def _fill(publisher: Publisher, stub: RecommenderAsyncStub, count: int) -> list[str]:
    ids = []
    for number in range(count):
        item = described(number)
        await publisher.item(item, backfill=True)
        ids.append(item.item_id)
    for start in range(0, count, 500):
        await _until_listed(stub, ids[start : start + 500])
    return ids


async def _clicks(
    publisher: Publisher, stub: RecommenderAsyncStub, ids: list[str], count: int
) -> list[float]:
    """Time clicks of as many users until a list holds the effect."""
    rng, times_ms = Random(1), []
    for number in range(count):
        user = f"clicker-{number}"
        request = RecommendRequest(user_id=user, k=10)
        before = await stub.Recommend(request, timeout=2)
        started = time.perf_counter()
        request.after = await publisher.event(
            Event(user_id=user, item_id=rng.choice(ids), type="click")
        )
        after = await stub.Recommend(request, timeout=2)
        times_ms.append((time.perf_counter() - started) * 1e3)
        if [item.item_id for item in before.items] == [item.item_id for item in after.items]:
            raise RuntimeError(f"the click of {user} changed nothing: {list(after.degraded)}")
    return times_ms


async def _arrivals(publisher: Publisher, stub: RecommenderAsyncStub, count: int) -> list[float]:
    """Time new items with pictures until they can be recommended."""
    times_ms = []
    for number in range(count):
        item = pictured(number)
        started = time.perf_counter()
        await publisher.item(item)
        times_ms.append((await _until_listed(stub, [item.item_id]) - started) * 1e3)
    return times_ms


def _memory_mb(up: Up) -> dict[str, float]:
    """Return the proportional share of memory of each process, by name."""
    found: dict[str, float] = {}
    for process in up.family():
        command = process.cmdline()
        name = next((word for word in command if word.startswith("services.")), process.name())
        found[name] = round(found.get(name, 0) + process.memory_full_info().pss / 1e6, 1)
    return found


async def measure(up: Up, options: argparse.Namespace) -> dict[str, Any]:
    """Fill the system and time clicks and arrivals."""
    assert up.running is not None
    channel, stub = open_stub(up.running.addresses.ranking)
    async with channel, Publisher(up.kafka) as publisher:
        ids = await _fill(publisher, stub, options.items)
        clicks = await _clicks(publisher, stub, ids, options.clicks)
        arrivals = await _arrivals(publisher, stub, options.arrivals)
    return {
        "items": options.items,
        "click_to_changed_list_ms": percentiles(clicks),
        "item_to_recommendable_ms": percentiles(arrivals),
        "memory_mb": _memory_mb(up),
    }


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000, help="in the catalogue")
    parser.add_argument("--clicks", type=int, default=200, help="measured, one at a time")
    parser.add_argument("--arrivals", type=int, default=200, help="measured, one at a time")
    parser.add_argument("--bundle", type=Path, help="folder of the model bundle, if not day zero")
    options = parser.parse_args()
    bundle = {} if options.bundle is None else {"FRESHET_BUNDLE": str(options.bundle.resolve())}
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder), bundle)
        ready_s = []
        for _ in range(2):
            started = time.monotonic()
            up.start()
            ready_s.append(round(time.monotonic() - started, 1))
            if len(ready_s) == 1:
                up.stop()
        try:
            figures = asyncio.run(measure(up, options))
        finally:
            up.stop()
    figures |= {"ready_first_s": ready_s[0], "ready_second_s": ready_s[1]}
    figures["load"] = psutil.getloadavg()[0]
    json.dump(figures, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
