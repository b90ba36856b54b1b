"""Measure how fast sessions takes events in, on the project's own Kafka and Valkey, all here.

    python -m tests.bench.intake [--events N] [--users N] [--items N] [--clicks N] [--redis PROGRAM]

1. A backlog of events is published; one worker starts, and is timed from its first effect in Redis
   to the last: states, co-visits, trending and positions of all of them are there then.
2. Beside 1,000 events a second, single clicks are published one after the other; each is timed from
   the call of send to the broker's acknowledgement, and to the user's new state in Redis, asked for
   twice a millisecond.

3. The floor: the same backlog is read by a plain loop, the least that keeps anything of it: each
   event parsed, its user set, two sorted sets increased, up to 512 events an exchange.

Prints one line of JSON: events a second of both, CPU microseconds an event of worker, Redis and
broker, milliseconds p50 and p99, bytes of Redis a user, MiB of the worker. The machine's speed
changes from hour to hour: the worker's share of the floor says more than its events a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract.events import decode_event
from freshet.contract.records import content_type
from freshet.contract.topics import CLICKS
from freshet.kafka_clients import KafkaSettings
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.valkey import EmbeddedValkey
from shared.clock import now_ms
from shared.runtime.redis_client import Command, RedisExchange
from shared.users import keys, positions
from tests.proofs.sessions import harness
from tests.servers import Service

WITHIN_S = 300.0
FLOOR_EVENTS = 512


async def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run both measurements in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as name:
        folder = Path(name)
        broker = EmbeddedKafka(folder / "kafka")
        store = EmbeddedValkey(folder / "redis", program=options.redis)
        try:
            broker.start()
            store.start()
            return await _measure(options, broker, store, folder)
        finally:
            broker.kill()
            store.kill()


async def _measure(
    options: argparse.Namespace, broker: EmbeddedKafka, store: EmbeddedValkey, folder: Path
) -> dict[str, Any]:
    settings = KafkaSettings(bootstrap_servers=broker.bootstrap)
    await kafka_clients.ensure_topics(settings, [CLICKS])
    await harness.publish_items(broker.bootstrap, options.items)
    events = harness.shopping(options.events, users=options.users, items=options.items)
    await harness.publish(broker.bootstrap, events)
    environ = harness.environ(broker.bootstrap, store.url) | {"FRESHET_SNAPSHOTS": str(folder)}
    redis = Redis.from_url(store.url)
    worker = Service("sessions", environ, folder / "worker")
    try:
        result = await _backlog(redis, options.events, _cpu_of(worker, store, broker))
        result |= await _latency(broker.bootstrap, redis, options)
        users = await redis.eval(
            "local n, b = 0, 0 for _, k in ipairs(redis.call('KEYS', 'u:*')) do n = n + 1"
            " b = b + redis.call('MEMORY', 'USAGE', k) end return {n, b}",
            0,
        )
        result["redis_bytes_a_user"] = round(users[1] / users[0])
        result["worker_mib"] = psutil.Process(worker.process.pid).memory_info().rss >> 20
        worker.stop()
        floor = await _floor(settings, redis, options.events)
        result["floor_events_per_s"] = round(floor)
        result["share_of_floor"] = round(result["events_per_s"] / floor, 2)
        return result
    finally:
        worker.stop()
        await redis.aclose()


def _cpu_of(
    worker: Service, store: EmbeddedValkey, broker: EmbeddedKafka
) -> Callable[[], dict[str, float]]:
    """Return a function that tells the CPU seconds that each process has used."""
    pids = {"worker": worker.process.pid, "redis": store.pid, "broker": broker.pid}

    def used() -> dict[str, float]:
        times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
        return {name: cpu.user + cpu.system for name, cpu in times.items()}

    return used


async def _applied(redis: Redis) -> int:
    wanted = [keys.position(CLICKS.name, p) for p in range(CLICKS.partitions)]
    values: list[Any] = await redis.mget(wanted)
    return sum(positions.unpack(value).offset + 1 for value in values if value)


async def _backlog(
    redis: Redis, events: int, cpu: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    before = await _until(lambda: _applied(redis), lambda applied: applied > 0)
    started, cpu_before = time.perf_counter(), cpu()
    await _until(lambda: _applied(redis), lambda applied: applied >= events)
    wall_s, cpu_after, done = time.perf_counter() - started, cpu(), events - before
    return {
        "events": events,
        "events_per_s": round(done / wall_s),
        **{
            f"{name}_cpu_us_an_event": round((cpu_after[name] - cpu_before[name]) / done * 1e6, 1)
            for name in cpu_after
        },
    }


async def _floor(settings: KafkaSettings, redis: Redis, events: int) -> float:
    """Read a backlog, keep the least of it, and return events a second."""
    exchange = RedisExchange(redis.connection_pool)
    consumer = kafka_clients.consumer(settings, CLICKS.name)
    await consumer.start()
    try:
        started, first, read = 0.0, 0, 0
        while read < events:
            found = await consumer.getmany(timeout_ms=1_000, max_records=FLOOR_EVENTS)
            for records in found.values():
                commands: list[Command] = []
                for record in records:
                    event = decode_event(record.value, content_type(record.headers))
                    user, item = event.user_id.encode(), event.item_id.encode()
                    commands.append(("SET", b"floor:u:" + user, record.value))
                    commands.append(("ZINCRBY", b"floor:co:" + user[-2:], 1, item))
                    commands.append(("ZINCRBY", b"floor:tr", 1, item))
                await exchange(commands)
                read += len(records)
            if not first:  # joining and connecting are not timed
                started, first = time.perf_counter(), read
        return (read - first) / (time.perf_counter() - started)
    finally:
        await consumer.stop()
        await exchange.close()


async def _latency(bootstrap: str, redis: Redis, options: argparse.Namespace) -> dict[str, Any]:
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=bootstrap), linger_ms=0)
    await producer.start()
    beside = asyncio.create_task(_steady(bootstrap, 1_000, options))
    acknowledged, seen = [], []
    try:
        await asyncio.sleep(2.0)
        for number in range(options.clicks):
            user = f"bench-{number}"
            event = harness.Shopped(user, number % options.items, now_ms())
            started = time.perf_counter()
            await producer.send_and_wait(CLICKS.name, key=event.key, value=event.value)
            acknowledged.append(1e3 * (time.perf_counter() - started))
            await _until(partial(redis.exists, keys.user(user)), bool, every_s=0.0005)
            seen.append(1e3 * (time.perf_counter() - started))
            await asyncio.sleep(0.01)
    finally:
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside
        await producer.stop()
    return {
        f"{name}_{label}_ms": round(statistics.quantiles(values, n=100)[at], 2)
        for name, values in (("acknowledged", acknowledged), ("click_in_redis", seen))
        for label, at in (("p50", 49), ("p95", 94), ("p99", 98))
    }


async def _steady(bootstrap: str, per_second: int, options: argparse.Namespace) -> None:
    """Publish so many events a second until cancelled."""
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=bootstrap), linger_ms=5)
    await producer.start()
    started, sent = time.perf_counter(), 0
    try:
        while True:
            due = int((time.perf_counter() - started) * per_second)
            for event in harness.shopping(due - sent, users=5_000, items=options.items, seed=sent):
                await producer.send(CLICKS.name, key=event.key, value=event.value)
            sent = due
            await asyncio.sleep(0.005)
    finally:
        await producer.stop()


async def _until(
    ask: Callable[[], Awaitable[int]], good: Callable[[int], bool], *, every_s: float = 0.05
) -> int:
    deadline = time.monotonic() + WITHIN_S
    while not good(value := await ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not there within {WITHIN_S:.0f} s: is the worker at work?")
        await asyncio.sleep(every_s)
    return value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--redis", default=os.environ.get("FRESHET_TEST_REDIS"))
    sys.stdout.write(json.dumps(asyncio.run(main(parser.parse_args()))) + "\n")
