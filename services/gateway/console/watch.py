"""Watch the services' figures and let pages hear each, as server-sent events."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import aiohttp
import msgspec

from services.gateway.console.figures import LiveFigures, MetricsSample, figures, sample_of
from shared.clock import now_ms

EVERY_S: Final = 1.0
OVER: Final = 5  # samples that figures are made over: less would jump
KEPT: Final = 300  # figures: five minutes
ANSWER_WITHIN_S: Final = 2.0
NAMES: Final = ("sessions", "embedding", "ranking")  # in the order of their addresses
KAFKA: Final = "Kafka"
QUIET_S: Final = 15.0  # after which a stream says that it is there


class FiguresWatch:
    """Asks health ports for metrics each second; keeps what it made of them for a while."""

    def __init__(
        self,
        addresses: Sequence[str],
        kafka_answers: Callable[[], Awaitable[bool]],
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """addresses: of the health ports of NAMES. trust: of HTTPS; None: they speak HTTP."""
        self._trust = trust
        self._kafka_answers = kafka_answers
        self._addresses = dict(zip(NAMES, addresses, strict=False))
        self._samples: deque[MetricsSample] = deque(maxlen=OVER + 1)
        self._kept: deque[LiveFigures] = deque(maxlen=KEPT)
        self._news = asyncio.Condition()
        self._number = 0  # of figures made, since the start
        self._ended = False

    async def run(self) -> None:
        """Watch until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        connector = aiohttp.TCPConnector(ssl=self._trust or True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                await self._look(session)
                await asyncio.sleep(EVERY_S)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        scheme = "http" if self._trust is None else "https"
        asked = (_metrics(session, f"{scheme}://{address}") for address in self._addresses.values())
        kafka, texts = await asyncio.gather(self._kafka_answers(), asyncio.gather(*asked))
        away = tuple(
            name for name, text in zip(self._addresses, texts, strict=True) if text is None
        )
        if not kafka:
            away = (KAFKA, *away)
        at_s = time.monotonic()
        here = [text for text in texts if text is not None]
        self._samples.append(await asyncio.to_thread(sample_of, at_s, here, away))
        if len(self._samples) > 1:
            async with self._news:
                self._kept.append(figures(self._samples[-1], self._samples[0], now_ms()))
                self._number += 1
                self._news.notify_all()

    async def stop(self) -> None:
        """End all streams."""
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield server-sent events: what is kept as one list, then each figure as it comes."""
        heard = self._number
        yield _event("past", list(self._kept))
        while not self._ended:
            try:
                async with asyncio.timeout(QUIET_S), self._news:
                    while self._number == heard and not self._ended:
                        await self._news.wait()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            news = self._number - heard
            heard = self._number
            for each in list(self._kept)[len(self._kept) - news :]:
                yield _event("figures", each)


def _event(name: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


async def _metrics(session: aiohttp.ClientSession, base: str) -> str | None:
    """Return a service's metrics, None where it does not answer."""
    try:
        async with session.get(f"{base}/metrics") as reply:
            return await reply.text() if reply.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
