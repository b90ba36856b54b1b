"""Bind what is connected to one event loop: opened where it is first used, closed once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

CONNECT_AT_MOST_S: Final = 1.0


class LoopBound(ABC):
    """Connects at the first use, so that it can be made anywhere, also before a process forks.

    Its `async with` block connects too, for at most a second and whether or not anybody answers.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._address}{' (closed)' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        with suppress(TimeoutError):  # then the first call says what is wrong
            async with asyncio.timeout(CONNECT_AT_MOST_S):
                await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. Closing twice does no harm."""
        closed, self._closed = self._closed, True
        if self._loop is not None and not closed:
            await self._disconnect()

    def _bind(self) -> None:
        """Bind to the running loop and make what it needs, the first time. Raises RuntimeError."""
        if self._closed:
            raise RuntimeError(f"{self} cannot be used any more")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._make()
            self._loop = loop
        elif loop is not self._loop:
            raise RuntimeError(
                f"{self} belongs to another event loop: "
                "give each loop its own, or use freshet.sync, which needs none"
            )

    @abstractmethod
    def _make(self) -> None:
        """Make what belongs to the running loop."""

    @abstractmethod
    async def _connect(self) -> None:
        """Bind, and wait until connected or until that fails."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """End what `_make` began."""
