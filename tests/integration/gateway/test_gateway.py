"""The gateway as a process of its own, before a real Kafka and a double of ranking."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import ClientSession

from freshet import KafkaSettings, kafka_clients
from freshet.contract.events import decode_event
from freshet.contract.records import PROTOBUF
from services.cli.up.process import free_port
from tests.servers import Service, eventually
from tests.unit.freshet.ranking_double import serve

pytestmark = pytest.mark.integration

CLICK = {"item_id": "mug-1", "type": "click"}
BATCH = 100


async def published(kafka: str, count: int) -> list[tuple[str, str]]:
    """Return position and user of so many events of `clicks`."""
    consumer = kafka_clients.consumer(KafkaSettings(bootstrap_servers=kafka), "clicks")
    await consumer.start()
    try:
        records = [await asyncio.wait_for(consumer.getone(), 20) for _ in range(count)]
    finally:
        await consumer.stop()
    return [
        (f"{record.partition}:{record.offset}", decode_event(record.value, PROTOBUF).user_id)
        for record in records
    ]


async def test_what_was_answered_is_in_kafka_also_where_the_gateway_ended_meanwhile(
    kafka: str, start_service: Callable[..., Service]
) -> None:
    port = free_port()
    answered: dict[str, str] = {}
    async with serve() as ranking:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "FRESHET_RANKING_ADDRESS": ranking.address,
            "FRESHET_GATEWAY_PORT": str(port),
        }
        service = await start_service("gateway", environ).ready()
        async with ClientSession(f"http://127.0.0.1:{port}") as session:

            async def publish(number: int) -> bool:
                events = [{**CLICK, "user_id": f"u{number}-{n}"} for n in range(BATCH)]
                try:
                    async with session.post("/v1/events", json=events) as reply:
                        assert reply.status == 202, await reply.text()
                        positions = (await reply.json())["positions"]
                except OSError:
                    return False  # the port is closed: nothing was taken
                answered.update(
                    (position, event["user_id"])
                    for position, event in zip(positions, events, strict=True)
                )
                return True

            calls = [asyncio.create_task(publish(number)) for number in range(20)]
            await eventually(lambda: answered)
            service.process.terminate()
            await asyncio.gather(*calls)
        assert await asyncio.to_thread(service.stop) == 0
    assert len(answered) >= BATCH
    assert set(answered.items()) <= set(await published(kafka, len(answered)))


async def test_a_stream_goes_through_to_kafka_in_order(
    kafka: str, start_service: Callable[..., Service]
) -> None:
    port = free_port()
    count = 2_000

    async def lines() -> AsyncIterator[bytes]:
        for number in range(count):
            yield json.dumps({**CLICK, "user_id": "ada", "event_id": str(number)}).encode() + b"\n"

    async with serve() as ranking:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "FRESHET_RANKING_ADDRESS": ranking.address,
            "FRESHET_GATEWAY_PORT": str(port),
        }
        await start_service("gateway", environ).ready()
        async with (
            ClientSession(f"http://127.0.0.1:{port}") as session,
            session.post(
                "/v1/events", data=lines(), headers={"content-type": "application/x-ndjson"}
            ) as reply,
        ):
            answer = await reply.json()

    assert answer["count"] == count
    (position,) = answer["positions"]
    assert (await published(kafka, count))[-1] == (position, "ada")
