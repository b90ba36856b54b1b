"""Let live work go first: backfill starts a step only while nothing live is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Precedence:
    """Counts live work that wants the CPU; backfill waits for its end before each of its steps.

    A step of backfill that has begun is finished: live work stands behind at most that one.
    """

    def __init__(self) -> None:
        self._live = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Hold backfill back for as long as this lasts."""
        self._live += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._live -= 1
            if not self._live:
                self._idle.set()

    async def backfill_turn(self) -> None:
        """Wait until no live work is under way."""
        while self._live:
            await self._idle.wait()
