"""A bound on the bytes that are under way."""

from __future__ import annotations

import asyncio


class Budget:
    """Lets work in while it fits; something larger than all of it goes alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._given = asyncio.Event()
        self.used_bytes = 0

    async def take(self, size_bytes: int) -> None:
        """Wait until so much fits, then hold it."""
        while self.used_bytes and self.used_bytes + size_bytes > self._limit_bytes:
            self._given.clear()
            await self._given.wait()
        self.used_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Give back what `take` held."""
        self.used_bytes -= size_bytes
        self._given.set()
