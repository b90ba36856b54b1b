"""Measure Recommend over gRPC: `python -m tests.bench.serving --help`. Figures as JSON.

Starts its own Kafka and Valkey, puts a synthetic catalogue into `item-vectors` and a snapshot,
states, co-visits and trending into Valkey, and starts ranking as a process of its own; beside it
the floor (tests/bench/floor.py), the least that answers, which is called by turns with it, and with
a bundle a second ranking without it, whose figures are called `untrained`. On a busy machine ratios
to the floor, differences within one run and the processor's time a call say more than milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
import redis.asyncio
from numpy.typing import NDArray

from freshet import kafka_clients
from freshet.channel import open_stub
from freshet.contract import topics
from freshet.contract.items import Item
from freshet.kafka_clients import KafkaSettings
from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import recommender_pb2_grpc
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import Guarded, free_port
from services.cli.up.valkey import EmbeddedValkey
from services.embedding.snapshots.build import graphs, save_index
from shared.bundles.bundle import MANIFEST, Bundle
from shared.catalogue import snapshots
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.arrow import to_table, write_table
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector, encode_item_vector
from shared.clock import now_ms
from shared.users import event_types, keys, log2_weights, states
from shared.users.log2_weights import HalfLives
from shared.users.session_vectors import VectorSettings, session_vectors
from tests import servers
from tests.unit.shared.users.makers import state_of

SPACE = "bench"
WARM_CALLS = 200
ROUNDS = 50  # in which calls of each kind take turns, so that a busy moment meets all
KINDS = 200
USERS = 500
EMPTY = np.empty(0, np.float16)


def catalogue_of(count: int, dim: int, seed: int, tower_dim: int = 0) -> list[ItemVector]:
    """Return items around the centres of their kinds, with title, two categories and price.

    tower_dim: of the tower vectors that they have, too; 0: none.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, KINDS, count)
    vectors = _around_kinds(kind, dim, rng)
    towers = _around_kinds(kind, tower_dim, rng) if tower_dim else np.empty((count, 0), np.float16)
    arrived = now_ms() - rng.integers(0, 90 * 86_400_000, count)
    return [
        ItemVector(
            item_id=f"item-{n}",
            space=SPACE,
            vector=vectors[n],
            tower_vector=towers[n],
            image_vector=EMPTY,
            text_vector=EMPTY,
            content_hash=b"",
            item=Item(
                item_id=f"item-{n}",
                title=f"Item {n} of kind {kind[n]}",
                categories=(f"kind-{kind[n]}", f"group-{kind[n] % 12}"),
                price=float(rng.integers(1, 500)),
                currency="EUR",
            ),
            version=1,
            arrived_ms=int(arrived[n]),
            encoded_ms=int(arrived[n]),
        )
        for n in range(count)
    ]


def _around_kinds(
    kind: NDArray[np.int64], dim: int, rng: np.random.Generator
) -> NDArray[np.float16]:
    centres = rng.standard_normal((KINDS, dim))
    vectors = centres[kind] + 0.7 * rng.standard_normal((len(kind), dim))
    units: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float16
    )
    return units


def serving_here(trained: Path, folder: Path) -> Bundle:
    """Copy what serves lists of a trained bundle, as if it were of the synthetic space."""
    shutil.copytree(trained, folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"space": SPACE}))
    return Bundle.load(folder)


async def publish(settings: KafkaSettings, items: list[ItemVector]) -> None:
    """Write the items to `item-vectors.SPACE`, as embedding does."""
    topic = topics.item_vectors(SPACE)
    await kafka_clients.ensure_topics(settings, [topic, *topics.FIXED])
    producer = kafka_clients.producer(settings, linger_ms=20)
    await producer.start()
    try:
        for item in items:
            value = encode_item_vector(item)
            await producer.send(
                topic.name, key=item.item_id.encode(), value=value, headers=[("version", b"1")]
            )
        await producer.flush()
    finally:
        await producer.stop()


def history_of(rng: np.random.Generator, kinds: NDArray[np.int64], now_s: int) -> list[tuple]:  # type: ignore[type-arg]
    """Return 50 events of a user who likes three kinds."""
    liked = np.flatnonzero(np.isin(kinds, rng.choice(KINDS, 3, replace=False)))
    chosen = rng.choice(liked, min(50, len(liked)), replace=False)
    first_s = now_s - 120 * len(chosen)
    return [
        (keys.item_key(f"item-{item}"), first_s + 120 * n, 0, 0.0, event_types.CLICK, 0)
        for n, item in enumerate(chosen)
    ]


def write_snapshot(url: str, items: list[ItemVector], dim: int) -> None:
    """Write a snapshot that holds all items and ends before the topic's records."""
    catalogue = Catalogue(SPACE, dim)
    catalogue.apply([Change(item.item_id, 1, item) for item in items])
    rows = catalogue.copy_rows()
    manifest = snapshots.Manifest(
        space=SPACE,
        dim=dim,
        count=len(items),
        m=snapshots.HNSW_M,
        ef_construction=snapshots.HNSW_EF_CONSTRUCTION,
        offsets={},
        created_ms=now_ms(),
        tower_dim=0 if rows.tower_vectors is None else rows.tower_vectors.shape[1],
    )

    def write(folder: Path) -> None:
        write_table(to_table(rows), folder / snapshots.CATALOGUE)
        for file, _, vectors in graphs(rows):
            save_index(vectors, manifest, 2, folder / file)

    snapshots.write(url, manifest, write, lambda folder: None)


async def fill(url: str, items: list[ItemVector], dim: int, seed: int) -> None:
    """Write states of users, full co-visit sets and trending."""
    rng = np.random.default_rng(seed + 1)
    catalogue = Catalogue(SPACE, dim)
    catalogue.apply([Change(item.item_id, 1, item) for item in items])
    kinds = np.array([int(names[0].split("-")[1]) for names in catalogue.categories])
    at_ms, half_lives = now_ms(), HalfLives()
    client = redis.asyncio.Redis.from_url(url)
    bundle = ActiveBundle(SPACE, dim)
    await client.set(keys.ACTIVE_BUNDLE, msgspec.json.encode(bundle))
    for user in range(USERS):
        state = state_of(guard={0: user}, history=history_of(rng, kinds, at_ms // 1000))
        vectors = session_vectors([state.history_bytes], catalogue, VectorSettings())[0]
        state = state_of(guard=state.guard, history=state.history, vectors=vectors)
        await client.set(keys.user(f"user-{user}"), states.pack(state))
    members = [int(key).to_bytes(8, "big") for key in catalogue.keys]
    pipeline = client.pipeline(transaction=False)
    for number, key in enumerate(catalogue.keys.tolist()):
        same = np.flatnonzero(kinds == kinds[number])
        followers = rng.choice(same, min(100, len(same)), replace=False)
        scores = _scores(rng, len(followers), at_ms, half_lives.covisits_s)
        pipeline.zadd(
            keys.covisits(key), dict(zip((members[f] for f in followers), scores, strict=True))
        )
        if number % 500 == 499:
            await pipeline.execute()
    for scope in ("all", *(keys.category_scope(f"kind-{kind}") for kind in range(KINDS))):
        chosen = rng.choice(len(items), 1000 if scope == "all" else 40, replace=False)
        scores = _scores(rng, len(chosen), at_ms, half_lives.trending_s)
        pipeline.zadd(
            keys.trending(scope), dict(zip((members[c] for c in chosen), scores, strict=True))
        )
    await pipeline.execute()
    await client.aclose()


def _scores(rng: np.random.Generator, count: int, at_ms: int, half_life_s: float) -> list[float]:
    weights = rng.pareto(1.2, count) + 0.1
    return [log2_weights.score_of(float(w), at_ms, half_life_s) for w in weights]


class Figures:
    """What one kind of call took, by stage too, and what it cost the process that answers."""

    def __init__(self, stub: recommender_pb2_grpc.RecommenderAsyncStub, pid: int, users: str):
        self._stub, self._pid, self._users = stub, pid, users
        self.took: list[float] = []
        self._stages: dict[str, list[float]] = defaultdict(list)
        self._degraded = 0
        self._wall_s = 0.0
        self._cpu_s = 0.0

    async def measure(self, calls: int, k: int, in_flight: int) -> None:
        """Make so many more calls."""
        first = len(self.took)
        began_s, cpu_began_s = time.perf_counter(), cpu_s(self._pid)
        await asyncio.gather(
            *(self._work(range(first + n, first + calls, in_flight), k) for n in range(in_flight))
        )
        self._wall_s += time.perf_counter() - began_s
        self._cpu_s += cpu_s(self._pid) - cpu_began_s

    async def _work(self, numbers: range, k: int) -> None:
        for n in numbers:
            request = pb.RecommendRequest(user_id=f"{self._users}-{n % USERS}", k=k)
            began_s = time.perf_counter()
            reply = await self._stub.Recommend(request, timeout=1)
            self.took.append((time.perf_counter() - began_s) * 1e3)
            self._degraded += bool(reply.degraded)
            for timing in reply.timings:
                self._stages[timing.stage].append(timing.ms)

    @property
    def cpu_ms(self) -> float:
        """What a call costs the process that answers."""
        return round(1e3 * self._cpu_s / len(self.took), 3)

    def shown(self) -> dict[str, object]:
        """Return them as they are printed."""
        shown: dict[str, object] = {
            "cpu_ms_a_call": self.cpu_ms,
            "p50_ms": _percentile(self.took, 50),
            "p99_ms": _percentile(self.took, 99),
            "calls_a_second": round(len(self.took) / self._wall_s),
        }
        if self._stages:
            shown |= {
                "degraded": self._degraded,
                "stages_p50_ms": {name: _percentile(ms, 50) for name, ms in self._stages.items()},
                "stages_p99_ms": {name: _percentile(ms, 99) for name, ms in self._stages.items()},
            }
        return shown


class Answering(NamedTuple):
    """A process that answers Recommend."""

    address: str
    pid: int


async def measure(
    service: Answering, floor: Answering, untrained: Answering | None, options: argparse.Namespace
) -> dict[str, object]:
    """Call by turns for known users, for unknown ones, and others who answer for known ones.

    untrained: the same service without the bundle, where it has one.
    """
    asked = {"known": (service, "user"), "unknown": (service, "nobody"), "floor": (floor, "user")}
    if untrained is not None:
        asked["untrained"] = (untrained, "user")
    async with AsyncExitStack() as channels:
        begin = {}
        for name, (answering, users) in asked.items():
            channel, stub = open_stub(answering.address)
            await channels.enter_async_context(channel)
            await channel.channel_ready()
            begin[name] = partial(Figures, stub, answering.pid, users)
            await begin[name]().measure(WARM_CALLS, options.k, options.in_flight)
        figures = {name: start() for name, start in begin.items()}
        for _ in range(ROUNDS):
            for each in figures.values():
                await each.measure(max(1, options.calls // ROUNDS), options.k, options.in_flight)
    shown: dict[str, object] = {name: each.shown() for name, each in figures.items()}
    known = figures["known"].took
    for percent in (50, 99):
        shown[f"known_p{percent}_over_floor"] = round(
            _percentile(known, percent) / _percentile(figures["floor"].took, percent), 2
        )
    if untrained is not None:
        p50_ms = _percentile(known, 50) - _percentile(figures["untrained"].took, 50)
        shown["bundle_adds"] = {
            "p50_ms": round(p50_ms, 3),
            "p50_over_floor": round(p50_ms / _percentile(figures["floor"].took, 50), 2),
            "cpu_ms_a_call": round(figures["known"].cpu_ms - figures["untrained"].cpu_ms, 3),
        }
    return shown


def cpu_s(pid: int) -> float:
    """Return the processor's time that a process has used, user and system."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def memory_mb(pid: int) -> int:
    """Return a process's resident memory."""
    return int(psutil.Process(pid).memory_info().rss) // (1024 * 1024)


def _percentile(values: list[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3)


async def run(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Start everything, measure, stop everything."""
    broker, store = EmbeddedKafka(folder / "kafka"), EmbeddedValkey(folder / "valkey")
    broker.start()
    store.start()
    started: list[servers.Service | Guarded] = []
    try:
        tower_dim, bundle = 0, folder / "bundle"
        if options.bundle is not None:
            shape = serving_here(options.bundle, bundle).tower
            tower_dim = 0 if shape is None else shape.dim
        items = catalogue_of(options.items, options.dim, options.seed, tower_dim)
        await publish(KafkaSettings(bootstrap_servers=broker.bootstrap), items)
        await fill(store.url, items, options.dim, options.seed)
        url = str(folder / "snapshots")
        await asyncio.to_thread(write_snapshot, url, items, options.dim)
        began = time.perf_counter()
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "REDIS_URL": store.url,
            "FRESHET_RANKING_PORT": "0",
            "FRESHET_SNAPSHOTS": url if options.snapshot else str(folder / "none"),
            "FRESHET_BUNDLE": str(bundle),  # where there is none, nothing of one serves
            **dict(pair.split("=", 1) for pair in options.env),
        }
        service = servers.Service("ranking", environ, folder)
        started.append(service)
        await service.ready(within_s=300)
        ready_s = time.perf_counter() - began
        untrained = None
        if options.bundle is not None:
            beside = folder / "untrained"
            beside.mkdir()
            without = environ | {"FRESHET_BUNDLE": str(beside / "none")}
            untrained = servers.Service("ranking", without, beside)
            started.append(untrained)
            await untrained.ready(within_s=300)
        floor_port = free_port()
        command = [sys.executable, "-m", "tests.bench.floor", str(floor_port), store.url, url]
        floor = Guarded([*command, SPACE, str(options.dim)], folder / "floor.log")
        started.append(floor)
        figures = await measure(
            _answering(service),
            Answering(f"127.0.0.1:{floor_port}", floor.pid),
            None if untrained is None else _answering(untrained),
            options,
        )
        return {
            "items": options.items,
            "dim": options.dim,
            "k": options.k,
            "in_flight": options.in_flight,
            "snapshot": options.snapshot,
            "tower": service.status()["tower"],
            "ready_s": round(ready_s, 2),
            "memory_mb": memory_mb(service.process.pid),
            **figures,
        }
    finally:
        for process in reversed(started):
            process.stop()
        store.stop()
        broker.stop()


def _answering(service: servers.Service) -> Answering:
    return Answering(f"127.0.0.1:{service.status()['grpc_port']}", service.process.pid)


def main() -> int:
    """Parse the command line, run, print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=__doc__)
    parser.add_argument("--items", type=int, default=10_000, help="in the catalogue")
    parser.add_argument("--dim", type=int, default=96, help="dimensions of the space")
    parser.add_argument("--calls", type=int, default=2_000, help="measured, for each kind of user")
    parser.add_argument("--k", type=int, default=10, help="items of a list")
    parser.add_argument("--in-flight", type=int, default=1, help="calls at once")
    parser.add_argument(
        "--snapshot",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin with an HNSW snapshot; else every search is exact",
    )
    parser.add_argument("--bundle", type=Path, help="a trained bundle: what it adds to a list")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic data")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for ranking")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        figures = asyncio.run(run(options, Path(folder)))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
