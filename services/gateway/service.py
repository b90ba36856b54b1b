"""Wire the gateway: what it waits for at its start, how it ends."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.routing import Route

from freshet import kafka_clients
from freshet.client import Client
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS
from freshet.publisher import Publisher
from freshet.settings import BadSetting
from services.gateway.access.callers import Callers
from services.gateway.api.endpoint import Limits
from services.gateway.app import build_app, endpoints
from services.gateway.console.catalogue import ServedVectors
from services.gateway.console.kafka_pulse import KafkaPulse
from services.gateway.console.letters import DeadLetterDesk
from services.gateway.console.page import ConsolePage, routes
from services.gateway.console.settings import OFF, READ, WRITE
from services.gateway.console.shown_items import ShownItems
from services.gateway.console.watch import FiguresWatch
from services.gateway.http.server import HttpServer
from services.gateway.settings import NAME, GatewaySettings
from shared.access.public_keys import PublicKeys
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Service, tune_collector

MIB: Final = 1024 * 1024


class GatewayService(Service):
    """Answers HTTP by Kafka and ranking: ready when Kafka's topics are there."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises BadSetting for a token that others could read on its way to ranking."""
        super().__init__(NAME, settings.door, ends_with_background=True)
        self.settings = settings
        self.port = 0
        access = settings.access  # with the certificate of the environment, too
        try:
            self._client = Client(
                settings.ranking_address,
                tls=access.tls,
                token=access.token_source(),
            )
            keys = PublicKeys(settings.public_keys_file) if settings.public_keys_file else None
            trust = access.ssl_context()
        except (OSError, ValueError) as error:
            raise BadSetting(str(error)) from None
        self._publisher = Publisher(settings.kafka)
        callers = Callers(
            self.door,
            keys,
            settings.public_calls_per_s,
            settings.origins,
            own_pages_write=settings.console.mode != READ,
        )
        self._limits = Limits(settings.in_flight_at_most, settings.bodies_mib * MIB)
        api = endpoints(self._publisher, self._client, settings.stream_mib * MIB)
        self._items = ShownItems(settings.kafka, settings.console.pictures_mib * MIB)
        self._kafka = KafkaPulse(settings.kafka)
        self._watch = FiguresWatch(settings.console.health_addresses, self._kafka.answers, trust)
        self._vectors = ServedVectors(settings.kafka, self._client)
        app = build_app(api, callers, self._limits, self._console(callers))
        self._server = HttpServer(app, self.door, settings.trusted_proxies)
        # Ended backwards: calls in flight end first, then what they publish is sent.
        for end in (
            self.health.stop,
            self._client.close,
            self._publisher.close,
            self._vectors.stop,
            self._server.stop,
            self._kafka.stop,
            self._watch.stop,  # streams end, else the server would wait for them
            self.background.stop,
        ):
            self.ends.push_async_callback(end)

    async def start(self) -> None:
        """Wait for Kafka as long as it takes, then listen; ranking may come later."""
        settings = self.settings
        await self.health.start(settings.health_port)
        topics = (CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS)
        ensure = partial(kafka_clients.ensure_topics, settings.kafka, topics)
        await retry_until_available("Kafka", ensure)
        await self._publisher.__aenter__()
        await self._client.__aenter__()
        if settings.console.mode != OFF:
            for work in self._items.works():
                self.background.start(work(), "shown-items")
            self.background.start(self._watch.run(), "watch")
        self.port = await self._server.start(settings.port)
        self.background.start(self._server.ended(), "the serving of HTTP")
        tune_collector()
        self.health.ready = True

    def _console(self, callers: Callers) -> list[Route]:
        """Return the routes of the page, none where it is off. Raises BadSetting."""
        mode = self.settings.console.mode
        if mode == OFF:
            return []
        if self.door.tokens is None and not self.door.settings.loopback:
            raise BadSetting(
                "FRESHET_CONSOLE must be off beyond the loopback without keys"
                f" (FRESHET_TOKENS_FILE), was {mode}: strangers would see everybody's lists"
            )
        page = ConsolePage(
            self._items,
            self._vectors,
            self._watch,
            self._client,
            DeadLetterDesk(self.settings.kafka),
            ranking=self.settings.ranking_address,
            writable=mode == WRITE,
        )
        return routes(page, callers, self._limits)

    def status(self) -> dict[str, Any]:
        """Return what GET /status shows."""
        return {"http_port": self.port, "calls_in_flight": self._limits.in_flight}
