"""Nothing is off by a factor: time from an item's arrival to its vector, and memory."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from aiokafka import AIOKafkaConsumer
from PIL import Image

from freshet.contract.items import Item
from tests.integration.embedding.shop import open_shop, picture
from tests.servers import Service

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

ITEMS = 200
P99_AT_MOST_MS = 1_000  # on an idle machine 60; test machines are shared
MEMORY_AT_MOST_MIB = 420


def memory_mib(service: Service) -> float:
    """Return what the service and its decoders take."""
    process = psutil.Process(service.process.pid)
    members = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in members) / 2**20


def hostile() -> Iterator[bytes]:
    """Yield the largest pictures that are decoded, and many bytes that are none."""
    for mode in ("L", "RGB", "P"):
        out = io.BytesIO()
        Image.new(mode, (8000, 8000)).save(out, "PNG")
        yield out.getvalue()
    yield b"\xff\xd8\xff" + bytes(4 * 1024 * 1024 - 3)


async def test_item_with_picture_is_there_soon_and_memory_stays_bounded(
    start_service: Callable[..., Service],
    kafka: str,
    valkey: str,
    space: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
    }
    service = await start_service("embedding", environ).ready()
    async with open_shop(kafka, space) as shop:
        await shop.publish(Item(item_id="first", title="First", image_bytes=picture()))
        await shop.has_vector("first")
        consumer = AIOKafkaConsumer(
            shop.vectors_topic, bootstrap_servers=kafka, auto_offset_reset="latest"
        )
        await consumer.start()
        await consumer.seek_to_end()
        took_ms = []
        for number in range(ITEMS):
            item = Item(
                item_id=str(number), title=f"Item {number}", image_bytes=picture(number, side=400)
            )
            began = time.monotonic()
            await shop.publish(item)
            record = await asyncio.wait_for(consumer.getone(), 30)
            assert record.key == item.item_id.encode()
            took_ms.append((time.monotonic() - began) * 1000)
        await consumer.stop()
        for number, data in enumerate([*hostile()] * 5):
            offset = await shop.publish(
                Item(item_id=f"bomb-{number}", image_bytes=data), partition=0
            )
        await shop.dead_letter(f"items:0:{offset}", within_s=120)
    p50_ms, p99_ms = np.percentile(took_ms, [50, 99])
    record_testsuite_property("item_to_vector_p50_ms", round(float(p50_ms), 1))
    record_testsuite_property("item_to_vector_p99_ms", round(float(p99_ms), 1))
    record_testsuite_property("memory_mib", round(memory_mib(service)))
    assert p99_ms <= P99_AT_MOST_MS
    assert memory_mib(service) <= MEMORY_AT_MOST_MIB
