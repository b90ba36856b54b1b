"""Serve gRPC behind a door: bounded messages, connection ages, reflection and health."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from shared.access.door import Door, Need
from shared.access.settings import address_of

# Of a reply: Embed's is 64 items with three vectors each.
REPLY_MAX_BYTES = 64 * 4 * 1024 * 1024 + 1024 * 1024


class Server:
    """A grpc.aio server, its health service, and the port it got."""

    def __init__(
        self,
        service: str,
        needs: Mapping[str, Need],
        door: Door,
        *,
        receive_max_bytes: int,
        max_concurrent: int = 256,
    ) -> None:
        """service: its whole name. needs: what its methods, by theirs, ask of callers' tokens."""
        self._door = door
        self.grpc = grpc.aio.server(
            interceptors=door.guards(
                {f"/{service}/{method}": need for method, need in needs.items()}
            ),
            maximum_concurrent_rpcs=max_concurrent,
            options=[
                ("grpc.max_receive_message_length", receive_max_bytes),
                ("grpc.max_send_message_length", REPLY_MAX_BYTES),
                ("grpc.so_reuseport", 0),  # a second process on the port must fail
                # Clients behind a headless Service find new pods when their connection ends.
                ("grpc.max_connection_age_ms", 300_000),
                ("grpc.max_connection_age_grace_ms", 30_000),
                ("grpc.keepalive_time_ms", 60_000),
            ],
        )
        self._services = [service, ""]
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        if door.reflects:
            names = (service, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self.grpc)
        self.port = 0

    async def start(self, port: int) -> int:
        """Listen, not yet SERVING; port 0 takes a free one. Returns the port.

        Raises OSError when the port is taken.
        """
        address, tls = address_of(self._door.settings.bind, port), self._door.tls
        try:
            if tls is None:
                self.port = self.grpc.add_insecure_port(address)
            else:
                self.port = self.grpc.add_secure_port(address, tls.grpc_credentials())
        except RuntimeError as error:
            raise OSError(str(error)) from None
        await self.set_serving(False)
        await self.grpc.start()
        return self.port

    async def set_serving(self, serving: bool) -> None:
        """Say through grpc.health.v1 whether calls are answered."""
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, let calls in flight end within the grace, then stop."""
        await self.set_serving(False)
        await self.grpc.stop(grace_s)
