"""Share out downloads by host: so many at once, and none from one that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final
from weakref import WeakValueDictionary

from services.embedding.pictures.fetch_errors import Unreachable
from shared.breaker import Breaker

HOST_PLACES: Final = 8  # downloads at once from one host, in each lane
LANE_PLACES: Final = 16  # and from all hosts; what they hold is in memory
FAILURES_AT_MOST: Final = 3  # in a row
PAUSE_S: Final = 10.0  # then one download a pause finds out whether the host is back
REMEMBERED: Final = 1_000  # hosts that fail


class Lane(Enum):
    """Who downloads; no lane waits for another's places."""

    LIVE = "live"
    BACKFILL = "backfill"


class Hosts:
    """Lends places, and remembers which hosts do not answer."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """now_s: any clock that does not go back, in seconds."""
        self._now_s = now_s
        self._lanes = {lane: asyncio.Semaphore(LANE_PLACES) for lane in Lane}
        self._places: WeakValueDictionary[tuple[str, Lane], asyncio.Semaphore]
        self._places = WeakValueDictionary()  # forgotten when nobody holds or awaits one
        self._failing: dict[str, Breaker] = {}  # the longest failing first

    @asynccontextmanager
    async def place(self, host: str, lane: Lane) -> AsyncIterator[None]:
        """Hold a place, once there is one; who waits for a host keeps no other host waiting."""
        places = self._places.setdefault((host, lane), asyncio.Semaphore(HOST_PLACES))
        async with places, self._lanes[lane]:
            yield

    def check(self, host: str) -> None:
        """Raise Unreachable while a host is left alone."""
        breaker = self._failing.get(host)
        if breaker is not None and not breaker.allows(self._now_s()):
            raise Unreachable(f"{host} did not answer lately and is left alone for a while")

    def answered(self, host: str) -> None:
        """Note that a host is there."""
        self._failing.pop(host, None)

    def failed(self, host: str) -> None:
        """Note that a host did not answer, or failed."""
        if host not in self._failing:
            self._failing[host] = Breaker(failures_at_most=FAILURES_AT_MOST, pause_s=PAUSE_S)
        self._failing[host].failed(self._now_s())
        if len(self._failing) > REMEMBERED:
            del self._failing[next(iter(self._failing))]
