"""Work that goes on beside the calls, and is missed when it ends.

A task that dies of an error nobody foresaw would leave the service serving what grows old. So the
first such error is kept: liveness fails with it, and whoever watches starts the process anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Tasks that run until `stop`."""

    def __init__(self) -> None:
        self.fault: str | None = None  # why a task ended, None while all run
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run work that never ends by itself."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            error = task.exception()
            log.error("%s ended", task.get_name(), exc_info=error)
            self.fault = self.fault or f"{task.get_name()} ended: {error!r}"
