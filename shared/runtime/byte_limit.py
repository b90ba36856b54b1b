"""Bound the bytes that are under way."""

from __future__ import annotations

import asyncio


class ByteLimit:
    """Lets work in while it fits; something larger than all of it goes alone."""

    def __init__(self, at_most_bytes: int) -> None:
        self._at_most_bytes = at_most_bytes
        self._released = asyncio.Event()
        self.used_bytes = 0

    async def acquire(self, size_bytes: int) -> None:
        """Wait until that much fits, then hold it."""
        while self.used_bytes and self.used_bytes + size_bytes > self._at_most_bytes:
            self._released.clear()
            await self._released.wait()
        self.used_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Give back what `acquire` held."""
        self.used_bytes -= size_bytes
        self._released.set()
