"""LiveFigures as server-sent events: what is kept first, then each as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from freshet.kafka_clients import KafkaSettings
from services.gateway.console import watch
from services.gateway.console.figures import LiveFigures
from services.gateway.console.kafka_pulse import KafkaPulse
from services.gateway.console.watch import FiguresWatch


@asynccontextmanager
async def metrics() -> AsyncIterator[str]:
    """Serve a metrics page whose counter rises each time; yields its address."""
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=f'freshet_events_folded_total{{partition="0"}} {asked}.0\n')

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_page_hears_what_was_and_then_what_is() -> None:
    async with metrics() as address:
        watching = FiguresWatch(
            [address, "127.0.0.1:1"], KafkaPulse(KafkaSettings("127.0.0.1:1")).answers
        )
        running = asyncio.create_task(watching.run())
        stream = watching.stream()

        past = await anext(stream)
        news = await asyncio.wait_for(anext(stream), 20)
        await watching.stop()
        rest = [each async for each in stream]
        running.cancel()

    assert past.startswith(b"event: past\ndata: [")
    assert news.startswith(b"event: figures\ndata: {")
    heard = msgspec.json.decode(news.partition(b"data: ")[2], type=LiveFigures)
    assert heard.events_per_s > 0
    assert heard.away == ("Kafka", "embedding")  # which nobody answers for
    assert len(rest) <= 2  # a gateway that stops ends its streams


def test_names_are_in_the_order_of_the_addresses() -> None:
    assert watch.NAMES == ("sessions", "embedding", "ranking")
