"""Make snapshots when they are due; one instance, the keeper, does it for all."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from services.embedding.settings import SnapshotSettings
from services.embedding.snapshots.due import is_due
from shared.catalogue import snapshots
from shared.catalogue.snapshots import Manifest
from shared.clock import now_ms
from shared.runtime.retry import TRANSIENT_ERRORS

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0
AFTER_FAILURE_S: Final = 60.0


class SnapshotFailed(Exception):
    """No snapshot was made; the text says why."""


class SnapshotUnderWay(Exception):
    """One is being made already: a build takes all that it may, and the next finds little new."""


class Indexer:
    """Makes snapshots when they are due, or when asked."""

    def __init__(
        self,
        settings: SnapshotSettings,
        space: str,
        dim: int,
        positions: Callable[[], Mapping[int, int]],
        is_keeper: Callable[[], bool],
    ) -> None:
        """positions: where `item-vectors` ends, by partition."""
        self._settings = settings
        self._space, self._dim = space, dim
        self._positions = positions
        self._is_keeper = is_keeper
        self._building = asyncio.Lock()
        self._started_ms = now_ms()
        self._not_before_s = 0.0
        self._looked = False
        self.last: Manifest | None = None
        self.failure = ""  # of the last build; empty: it succeeded

    async def run(self) -> None:
        """Look after snapshots until cancelled."""
        while True:
            try:
                await self._build_if_due()
            except SnapshotFailed as error:
                log.error("no snapshot made: %s", error)
            except TRANSIENT_ERRORS as error:
                log.warning("tried again in %.0f s: %r", CHECK_S, error)
            await asyncio.sleep(CHECK_S)

    async def build(self) -> dict[str, Any]:
        """Make a snapshot now. Returns its name, items and seconds.

        Raises SnapshotFailed, and SnapshotUnderWay at once instead of waiting in line.
        """
        if self._building.locked():
            raise SnapshotUnderWay("a snapshot is being made already")
        async with self._building:
            try:
                built = await asyncio.wait_for(
                    _build_apart(self._space, self._dim), self._settings.build_at_most_s
                )
            except (SnapshotFailed, TimeoutError) as error:
                self._not_before_s = time.monotonic() + AFTER_FAILURE_S
                self.failure = str(error) or f"not done in {self._settings.build_at_most_s:.0f} s"
                raise SnapshotFailed(self.failure) from None
            self.failure = ""
            log.info("snapshot %(snapshot)s of %(items)d items in %(seconds).1f s", built)
            await self._peek()
            return built

    def is_current(self) -> bool:
        """Say whether no snapshot is due, or none can be made: then the topic itself is read."""
        return bool(self.failure) or (self._looked and not self._is_due())

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows of snapshots."""
        shown: dict[str, Any] = {"failure": self.failure} if self.failure else {}
        if self.last is not None:
            age_s = (now_ms() - self.last.created_ms) / 1000
            shown |= {"created_ms": self.last.created_ms, "age_s": age_s, "items": self.last.count}
        return shown

    async def _build_if_due(self) -> None:
        try:
            await self._peek()
        except OSError as error:
            self.failure = f"cannot be looked at: {error}"
            raise
        due = self._is_due()
        waits = time.monotonic() < self._not_before_s or self._building.locked()
        if due and not waits and self._is_keeper():
            await self.build()

    def _is_due(self) -> bool:
        return is_due(self.last, self._positions(), now_ms(), self._started_ms, self._settings)

    async def _peek(self) -> None:
        self.last = await asyncio.to_thread(snapshots.peek, self._settings.url, self._space)
        self._looked = True


async def _build_apart(space: str, dim: int) -> dict[str, Any]:
    """Run the build in a process that ends with this one. Raises SnapshotFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.embedding", "snapshot", "--attended"),
        stdin=asyncio.subprocess.PIPE,  # its end tells the process that this one is gone
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "FRESHET_SPACE": space, "FRESHET_DIM": str(dim)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        # Not `communicate`, which would close stdin at once.
        output, errors, code = await asyncio.gather(
            process.stdout.read(), process.stderr.read(), process.wait()
        )
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if code:
        reason = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SnapshotFailed(" ".join(reason) or f"the build ended with code {code}")
    return dict(json.loads(output))
