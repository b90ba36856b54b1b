"""Wire the embedding service from its parts."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from aiohttp import web

from freshet.v1 import embedding_pb2_grpc
from services.embedding import server
from services.embedding.encode.precedence import Precedence
from services.embedding.pictures.addresses import private_network
from services.embedding.pictures.decoding import Decoders
from services.embedding.pictures.fetch import Fetcher
from services.embedding.settings import NAME, EmbeddingSettings
from services.embedding.snapshots.indexer import SnapshotFailed, SnapshotUnderWay
from services.embedding.space import Tools
from services.embedding.spaces import Spaces
from shared.bundles.bundle import BadBundle, Bundle
from shared.bundles.picture import PictureLimits
from shared.runtime import redis_client
from shared.runtime.call_guard import CallGuard
from shared.runtime.grpc_server import Server
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Refused, Service

log = logging.getLogger(__name__)

CALLS_AT_END_S: Final = 2.0
REDIS_S: Final = 1.0
MIB: Final = 1024 * 1024
SEARCH_DECODE_S: Final = 2  # nobody waits longer for a search
THREADS: Final = 64  # for names of picture hosts (at most 32 at once, and slow) and large records
ITEMS_IN_CALLS: Final = 256  # of all Embed calls together
QUERIES_IN_CALLS: Final = 256


class EmbeddingService(Service):
    """Turns items into vectors until `stop`; a defect ends the process, as a new start may help."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(NAME, settings.door, ends_with_background=True)
        self.port = 0
        self._settings = settings
        self._spaces: Spaces | None = None

    async def start(self) -> None:
        """Start everything and become ready; waits for Kafka and Redis as long as it takes.

        Raises Refused for a bad bundle, OSError where a port is taken.
        """
        settings, ends = self._settings, self.ends
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        health_port = await self.health.start(settings.health_port)
        ends.push_async_callback(self.health.stop)
        grpc_server = Server(
            server.SERVICE,
            server.NEEDS,
            self.door,
            receive_max_bytes=server.REQUEST_BYTES,
            messages_max_bytes=settings.messages_mib * MIB,
            max_concurrent=server.CALLS_AT_MOST,
        )
        embed_s = settings.embed_deadline_ms / 1000
        try:
            base = await asyncio.to_thread(Bundle.load, settings.bundle)
            tools = await self._start_tools()
            self._spaces = spaces = Spaces(settings, base, tools, self.background.fail)
            answering = server.EmbeddingServer(
                spaces,
                CallGuard(server.admission(ITEMS_IN_CALLS, "items"), embed_s),
                CallGuard(server.admission(QUERIES_IN_CALLS, "queries"), embed_s),
                embed_s=embed_s,
                query_s=settings.query_deadline_ms / 1000,
            )
            embedding_pb2_grpc.add_EmbeddingServicer_to_server(answering, grpc_server.grpc)
            self.port = await grpc_server.start(settings.port)
            ends.push_async_callback(spaces.stop)
            ends.push_async_callback(grpc_server.stop, CALLS_AT_END_S)
            await retry_until_available("Redis", partial(redis_client.refuse_cluster, tools.redis))
            await spaces.start()
        except BadBundle as error:
            raise Refused(f"FRESHET_BUNDLE: {error}") from None
        self.background.start(spaces.run(), "spaces")
        self.health.actions["snapshot"] = self._snapshot
        await grpc_server.set_serving(True)
        self.health.ready = True
        log.info("ready: space %s, port %d, health %d", spaces.served_space, self.port, health_port)

    async def stop(self) -> None:
        """Finish what is under way, within bounds, and end everything."""
        self.health.ready = False
        await self.background.stop()
        await super().stop()

    async def leave(self) -> None:
        """See Service.leave."""
        if self._spaces is not None:
            await self._spaces.leave()

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows."""
        spaces = self._spaces
        return {"port": self.port} | ({} if spaces is None else spaces.status())

    async def _start_tools(self) -> Tools:
        """Start what all spaces share."""
        settings, ends = self._settings, self.ends
        redis = redis_client.connect(settings.redis, socket_timeout_s=REDIS_S)
        ends.push_async_callback(redis_client.disconnect, redis)
        at_most_bytes = settings.decoder_mib * MIB
        limits = PictureLimits(settings.image_mib * MIB, settings.image_megapixels * 1_000_000)
        decoders = Decoders(settings.decoders, limits, at_most_bytes=at_most_bytes)
        search_decoders = Decoders(
            1, limits, at_most_s=SEARCH_DECODE_S, at_most_bytes=at_most_bytes
        )
        for pool in (decoders, search_decoders):
            ends.callback(pool.stop)
            await pool.start()
        fetcher = await ends.enter_async_context(
            Fetcher(
                settings.image_hosts,
                settings.image_roots,
                max_bytes=settings.image_mib * MIB,
                permitted_networks=tuple(map(private_network, settings.image_networks)),
            )
        )
        return Tools(redis, fetcher, decoders, search_decoders, Precedence())

    async def _snapshot(self) -> dict[str, Any]:
        indexer = self._spaces.served.indexer if self._spaces and self._spaces.served else None
        assert indexer is not None
        try:
            return await indexer.build()
        except SnapshotUnderWay as error:
            raise web.HTTPConflict(text=f"{error}\n") from None
        except SnapshotFailed as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from None
