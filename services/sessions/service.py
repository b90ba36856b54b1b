"""Wire sessions: what it waits for at its start, how its parts hang together, how it ends."""

from __future__ import annotations

from functools import partial
from typing import Any

from freshet import kafka_clients
from freshet.contract.topics import CLICKS, DEAD_LETTERS, USERS
from freshet.producer import RenewedProducer
from services.sessions.active_items import ActiveItems
from services.sessions.effect.store import StatesStore
from services.sessions.effect.writer import EffectWriter
from services.sessions.faust.worker import Worker
from services.sessions.settings import NAME, SessionsSettings
from services.sessions.users.feed import UsersFeed
from services.sessions.users.standing_users import StandingUsers
from services.sessions.users.store import UsersStore
from shared.kafka.log_reader import LogReader
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.redis_client import connect, refuse_cluster
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Service, tune_collector


class SessionsService(Service):
    """Folds clicks into Redis: ready when its partitions are read, alive while they get on.

    What the shop says of users it keeps there, too.
    """

    def __init__(self, settings: SessionsSettings) -> None:
        super().__init__(NAME, settings.door, ends_with_background=True)
        kafka, timeout_s = settings.kafka, settings.redis_timeout_s
        self._settings = settings
        self._redis = connect(settings.redis, socket_timeout_s=timeout_s)
        self._store = StatesStore(self._redis, CLICKS.name, timeout_s=timeout_s)
        self._items = ActiveItems(settings, self._redis)
        self._log_reader = LogReader(kafka, CLICKS.name)
        self._producer = RenewedProducer(partial(kafka_clients.producer, kafka))
        self._dead_letters = DeadLetterWriter(self._producer, NAME)
        self._users_store = UsersStore(self._redis, timeout_s=timeout_s)
        users = StandingUsers(self._users_store, self._producer)
        self._users = UsersFeed(settings, self._users_store, users, self._dead_letters)
        self._writer = EffectWriter(
            self._store, self._dead_letters, settings, self._items.caught_up, users.forget
        )
        self._worker: Worker | None = None

    async def start(self) -> None:
        """Wait for Kafka, Redis and the active bundle as long as it takes; then work."""
        settings, kafka = self._settings, self._settings.kafka
        for end in (
            self.health.stop,
            self._redis.aclose,
            self._store.close,
            self._users_store.close,
            self._log_reader.stop,
            self._producer.stop,
            self._items.stop,
        ):
            self.ends.push_async_callback(end)
        await self.health.start(settings.health_port)
        own = (CLICKS, USERS, DEAD_LETTERS)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, kafka, own))
        cluster_id = await retry_until_available("Kafka", partial(kafka_clients.cluster_id, kafka))
        await retry_until_available("Kafka", self._log_reader.start)
        await retry_until_available("Redis", partial(refuse_cluster, self._redis))
        await self._items.start()
        tune_collector()
        self._worker = Worker(
            settings,
            CLICKS.name,
            cluster_id,
            self._store,
            self._writer,
            self._items,
            self._log_reader,
        )
        self._worker.partitions.on_reading = partial(setattr, self.health, "ready", True)
        self.ends.push_async_callback(self._worker.stop)
        self.ends.push_async_callback(self.background.stop)
        self.background.start(self._worker.run(), "the worker")
        self.background.start(self._items.run(), "the reading of items")
        self.background.start(self._users.run(cluster_id), "the reading of users")

    async def leave(self) -> None:
        """See Service.leave."""
        if self._worker is not None:
            await self._worker.stop()

    def fault(self) -> str | None:
        """Return why the process should be started anew: work that ended, or a standstill."""
        return super().fault() or (self._worker.progress.stalled() if self._worker else None)

    def status(self) -> dict[str, Any]:
        """Return what GET /status shows; nothing of the worker before it is there."""
        if self._worker is None:
            return {}
        letters, items = self._dead_letters.sent, self._items.status()
        users = self._users.status()
        return {
            **self._worker.status(),
            "dead_letters": letters,
            "catalogue": items,
            "users": users,
        }
