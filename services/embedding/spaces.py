"""Run the spaces that are to be encoded here: the one that is served, the next, and the one before.

A bundle is FRESHET_BUNDLE's, or one that was published. The one that was ordered last is encoded
beside the served one, behind it at each step, and becomes active once all items are encoded and
their index is made. The one before is kept encoded, so that going back to it takes seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from services.embedding.encode.item_encoder import ItemEncoder
from services.embedding.settings import EmbeddingSettings
from services.embedding.space import EncodedSpace, Tools
from shared.bundles.bundle import BadBundle, Bundle
from shared.bundles.store import BundleStore
from shared.catalogue import active_bundle
from shared.faults import SystemFault
from shared.runtime.retry import TRANSIENT_ERRORS, retry_until_available

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
AFTER_FAILURE_S: Final = 60.0


class Spaces:
    """Follows what is ordered and published; one that cannot be encoded leaves the others alone."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        base: Bundle,
        tools: Tools,
        failed: Callable[[str, BaseException | None], None],
    ) -> None:
        """base: of FRESHET_BUNDLE. failed: hears that the served space cannot go on, and why."""
        self._settings = settings
        self._base = base.space
        self._store = BundleStore(settings.bundles.url)
        self._tools = tools
        self._failed = failed
        self._running: dict[str, EncodedSpace] = {}
        self._refused: dict[str, tuple[str, float]] = {}  # why, and until when it is not tried
        self.served_space = base.space

    @property
    def served(self) -> EncodedSpace | None:
        """The space that others serve from, or the one that this service has in its place."""
        return self._running.get(self.served_space)

    def encoder(self, space: str) -> ItemEncoder | None:
        """Return what encodes in a space, None where that is not done here."""
        running = self._running.get(space)
        return None if running is None else running.encoder

    async def start(self) -> None:
        """Run what is wanted, and at least one. Raises BadBundle where there is none."""
        await retry_until_available("Redis", self.look)
        if self.served is None:
            raise BadBundle(
                "; ".join(f"{space}: {why}" for space, (why, _) in self._refused.items())
            )

    async def run(self) -> None:
        """Follow what is wanted until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
                for running in list(self._running.values()):
                    await running.promote()
            except TRANSIENT_ERRORS as error:
                log.warning("tried again in %.0f s: %r", LOOK_S, error)
            if self.served is not None:
                self.served.report()

    async def look(self) -> None:
        """Begin with what is wanted and end what is not. Raises what Redis and the store raise."""
        wanted = await self._wanted()
        for space in wanted:
            _, until_s = self._refused.get(space, ("", 0.0))
            if space not in self._running and time.monotonic() >= until_s:
                await self._begin(space)
        self.served_space = next(
            (space for space in wanted if space in self._running), self.served_space
        )
        for space, running in list(self._running.items()):
            if space != self.served_space and (space not in wanted or running.fault):
                del self._running[space]
                await running.stop()
                log.info("space %s is no longer encoded", space)

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(running.stop() for running in self._running.values()))

    async def leave(self) -> None:
        """Read nothing any more and let others read."""
        await asyncio.gather(*(running.leave() for running in self._running.values()))

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows: the served space, the others below it."""
        shown: dict[str, Any] = self.served.status() if self.served else {}
        for space, running in self._running.items():
            if space != self.served_space:
                shown[f"beside: {space}"] = running.status()
        if self._refused:
            shown["refused"] = {space: why for space, (why, _) in self._refused.items()}
        return shown

    async def _wanted(self) -> list[str]:
        """Return the spaces that are to be encoded, the one that is served first."""
        standing = await active_bundle.standing(self._tools.redis)
        named = standing.spaces()
        if self._base not in standing.orders or standing.active is None:
            published = await asyncio.to_thread(self._store.publications)
            if standing.active is None:  # never set, or lost
                last = published[-1].space if published else self._base
                named = [self.served_space if self.served else last]
            elif not published:  # who publishes decides: a new base is no order beside that
                named.append(self._base)
        here = [space for space in dict.fromkeys(named) if await self._is_here(space)]
        return here or [self._base]

    async def _is_here(self, space: str) -> bool:
        if space == self._base or space in self._running:
            return True
        return await asyncio.to_thread(self._store.find, space) is not None

    async def _begin(self, space: str) -> None:
        running = EncodedSpace(
            self._settings,
            self._tools,
            lambda: space == self.served_space,
            partial(self._note_fault, space),
        )
        try:
            await running.load(await asyncio.to_thread(self._bundle_of, space))
            await running.start()
        except (BadBundle, SystemFault) as error:
            await running.stop()
            self._refuse(space, str(error))
            return
        except BaseException:
            await running.stop()
            raise
        self._refused.pop(space, None)
        self._running[space] = running
        log.info("space %s is being encoded", space)

    def _bundle_of(self, space: str) -> Bundle:
        """Return the bundle of a space. Raises BadBundle and OSError."""
        if space == self._base:
            return Bundle.load(self._settings.bundle)
        publication = self._store.find(space)
        if publication is None:
            raise BadBundle("it was published, and is gone")
        with self._store.lent(publication) as folder:
            return Bundle.load(folder)

    def _note_fault(self, space: str, error: BaseException | None) -> None:
        if space == self.served_space:
            self._failed(f"space {space}", error)
        else:
            self._refuse(space, repr(error))

    def _refuse(self, space: str, why: str) -> None:
        log.error(
            "space %s cannot be encoded, tried again in %.0f s: %s", space, AFTER_FAILURE_S, why
        )
        self._refused[space] = (why, time.monotonic() + AFTER_FAILURE_S)
