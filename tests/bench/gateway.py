"""Measure what HTTP adds to gRPC, and what it takes in: `python -m tests.bench.gateway`. JSON.

Runs `freshet up` in a folder of its own and publishes a catalogue. Then the same lists are asked
for by gRPC and by HTTP in turn, one at a time on one connection each, so that both meet the same
machine; and lists of events are published by a few connections to the gateway on one core.
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
from typing import Any, Self

import psutil

from freshet import Client, Event, Publisher
from freshet.channel import open_stub
from tests.bench.freshness import _fill, percentiles
from tests.e2e.system import Up

USERS = 50


class Connection:
    """One HTTP connection that is kept; as little of a client as there can be."""

    @classmethod
    async def open(cls, address: str) -> Self:
        host, _, port = address.rpartition(":")
        made = cls()
        made.host = address
        made.reader, made.writer = await asyncio.open_connection(host, int(port))
        return made

    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of a good answer."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.writer.write(f"{head}\r\n".encode() + body)
        answered = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        answer = await self.reader.readexactly(length)
        assert answered.split(b" ", 2)[1] in (b"200", b"202"), answer
        return answer


async def overhead(up: Up, calls: int, k: int) -> dict[str, Any]:
    """Ask for each list both ways, the one first, then the other."""
    assert up.running is not None
    addresses = up.running.addresses
    by_grpc: list[float] = []
    by_http: list[float] = []
    connection = await Connection.open(addresses.gateway)
    async with Client(addresses.ranking, timeout=5) as client:

        async def grpc(user: str) -> None:
            began = time.perf_counter()
            await client.recommend(user, k=k)
            by_grpc.append((time.perf_counter() - began) * 1e3)

        async def http(user: str) -> None:
            began = time.perf_counter()
            await connection.call(
                "GET", f"/v1/recommendations?user_id={user}&k={k}&timeout_ms=5000"
            )
            by_http.append((time.perf_counter() - began) * 1e3)

        process = psutil.Process(up.running.processes["gateway"])
        before_s = _cpu_s(process)
        for number in range(calls):
            user = f"bench-{number % USERS}"
            for ask in (grpc, http) if number % 2 else (http, grpc):
                await ask(user)
        cpu_s = _cpu_s(process) - before_s
    added = [http - grpc for http, grpc in zip(by_http, by_grpc, strict=True)]
    return {
        "calls": calls,
        "k": k,
        "grpc_ms": percentiles(by_grpc),
        "http_ms": percentiles(by_http),
        "added_ms": {
            "p50_of_differences": round(statistics.median(added), 2),
            "difference_of_p50": round(statistics.median(by_http) - statistics.median(by_grpc), 2),
        },
        "gateway_cpu_ms_a_list": round(cpu_s / calls * 1e3, 2),
    }


async def intake(up: Up, seconds: float, batch: int, connections: int) -> dict[str, Any]:
    """Publish lists of events for a while, the gateway bound to one core."""
    assert up.running is not None
    process = psutil.Process(up.running.processes["gateway"])
    if hasattr(process, "cpu_affinity"):  # not on macOS
        process.cpu_affinity([0])
    published = 0
    until = time.perf_counter() + seconds

    async def publish(number: int) -> None:
        nonlocal published
        connection = await Connection.open(up.running.addresses.gateway)  # type: ignore[union-attr]
        user = 0
        while time.perf_counter() < until:
            events = [
                {
                    "user_id": f"in-{number}-{user + n}",
                    "item_id": f"text-{n}",
                    "type": "click",
                    "event_id": f"{number}-{user + n}",
                }
                for n in range(batch)
            ]
            user += batch
            await connection.call("POST", "/v1/events", json.dumps(events).encode())
            published += batch

    before_s = _cpu_s(process)
    began = time.perf_counter()
    await asyncio.gather(*(publish(number) for number in range(connections)))
    took_s = time.perf_counter() - began
    cpu_s = _cpu_s(process) - before_s
    return {
        "batch": batch,
        "connections": connections,
        "events": published,
        "events_per_s": round(published / took_s),
        "cpu_us_an_event": round(cpu_s / published * 1e6, 1),
        "memory_mib": round(process.memory_info().rss / 2**20),
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(up: Up, args: argparse.Namespace) -> dict[str, Any]:
    assert up.running is not None
    channel, stub = open_stub(up.running.addresses.ranking)
    async with channel, Publisher(up.kafka, linger_ms=20) as publisher:
        ids = await _fill(publisher, stub, args.items)
        clicks = [
            Event(user_id=f"bench-{user}", item_id=ids[(7 * user + n) % len(ids)], type="click")
            for user in range(USERS)
            for n in range(20)
        ]
        await publisher.many(clicks)
        await _applied(up, publisher)
    await overhead(up, 50, args.k)  # connections and caches
    return {
        "lists": await overhead(up, args.calls, args.k),
        "intake": await intake(up, args.seconds, args.batch, args.connections),
    }


async def _applied(up: Up, publisher: Publisher) -> None:
    assert up.running is not None
    last = await publisher.event(Event(user_id="bench-0", item_id="text-0", type="view"))
    async with Client(up.running.addresses.ranking, timeout=5) as client:
        while not await client.applied(last):
            pass  # it waits itself


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Up(Path(folder)) as up:
        up.start()
        json.dump(asyncio.run(measure(up, args)), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
