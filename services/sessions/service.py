"""The whole service: what it waits for at its start, how its parts hang together, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from freshet import kafka_clients
from freshet.contract.topics import CLICKS, DEAD_LETTERS
from services.sessions.active_items import ActiveItems
from services.sessions.effect.letters import SERVICE, Letters
from services.sessions.effect.store import StatesStore
from services.sessions.effect.writer import Applier
from services.sessions.faust.log_reader import LogReader
from services.sessions.faust.worker import Worker
from services.sessions.fold.fold import Folded, FoldEvent, fold_many
from services.sessions.settings import Settings
from shared.runtime import garbage
from shared.runtime.health import Health
from shared.runtime.redis_client import connect
from shared.runtime.retry import retry_until_available
from shared.users.states import UserState

log = logging.getLogger(__name__)


class Service:
    """Wires all parts: `work` until it returns, then `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._health = Health(SERVICE)
        self._redis = connect(settings.redis, socket_timeout_s=settings.redis_timeout_s)
        self._log = LogReader(settings.kafka, CLICKS.name)
        self._items = ActiveItems(settings, self._redis)
        self._letters = Letters(partial(kafka_clients.producer, settings.kafka))
        self._applier = Applier(
            StatesStore(self._redis, CLICKS.name, timeout_s=settings.redis_timeout_s),
            self._fold,
            self._letters.send,
            cache_users=settings.cache_users,
            slice_events=settings.slice_events,
        )
        self._worker: Worker | None = None

    async def work(self, stop: asyncio.Event) -> None:
        """Work until `stop`. Raises what else ended the work."""
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            working.cancel()
            stopping.cancel()
            self._health.ready = False

    async def _work(self) -> None:
        """Wait for Kafka, Redis and the active bundle as long as it takes; then work."""
        settings = self._settings
        await self._health.start(settings.bind, settings.health_port)
        own = (CLICKS, DEAD_LETTERS)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, settings.kafka, own))
        cluster_id = await retry_until_available("Kafka", partial(kafka_clients.cluster_id, settings.kafka))
        await retry_until_available("Kafka", self._log.start)
        await self._items.start()
        garbage.settle()
        worker = Worker(settings, CLICKS.name, self._applier, self._log, cluster_id)
        worker.placing.on_placed = partial(setattr, self._health, "ready", True)
        self._worker, self._health.live = worker, worker.progress.stalled
        self._health.status = self._status
        parts = [asyncio.create_task(part) for part in (worker.run(), self._items.run())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for part in parts:
                part.cancel()

    async def close(self) -> None:
        """Close everything; what was under way is done again by whoever comes next."""
        if self._worker is not None:
            await self._worker.stop()
        for closing in (
            self._items.stop,
            self._letters.close,
            self._log.stop,
            self._applier.store.close,
            self._redis.aclose,
            self._health.stop,
        ):
            with contextlib.suppress(Exception):
                await closing()

    def _fold(self, states: Mapping[str, UserState], events: Sequence[FoldEvent]) -> Folded:
        return fold_many(states, events, self._items.catalogue, self._settings.fold)

    def _status(self) -> dict[str, Any]:
        assert self._worker is not None
        items, letters = self._items.status(), self._letters.sent
        return {**self._worker.status(), "dead_letters": letters, "catalogue": items}
