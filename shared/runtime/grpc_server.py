"""Serve gRPC behind a door: bounded messages, connection ages, reflection and health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from shared.access.door import Door, Need
from shared.access.settings import address_of
from shared.runtime.byte_limit import ByteLimit
from shared.runtime.call_guard import count_call, seen

if TYPE_CHECKING:
    from typing import TypeAlias

    from shared.runtime.call_guard import Context

    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]

# Of a reply: Embed's is 64 items with three vectors each.
REPLY_MAX_BYTES: Final = 64 * 4 * 1024 * 1024 + 1024 * 1024
MESSAGES_MAX_BYTES: Final = 128 * 1024 * 1024
ARRIVAL_AT_MOST_S: Final = 5.0


class BoundedMessages(grpc.aio.ServerInterceptor):
    """Takes messages in only while there is room for them in memory.

    gRPC takes in each call's message before it asks the method. So a method is served as one of a
    stream of messages: on the wire one message is the same, and it is read once the largest would
    fit. What is not needed of that is room for others then; the rest is, once the call has ended.
    """

    def __init__(self, message_max_bytes: int, at_most_bytes: int, within_s: float) -> None:
        """at_most_bytes: of all messages together. within_s: that one may take to arrive."""
        self._message_max_bytes = message_max_bytes
        self._room = ByteLimit(at_most_bytes)
        self._within_s = within_s
        # By method: what answers it, and as what it is served; made for each call, or the same.
        self._served: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        name = handler_call_details.method
        answering, served = self._served.get(name, (None, None))
        if answering is not handler:
            served = self._bounded(name.rpartition("/")[2], handler)
            self._served[name] = handler, served
        return served

    def _bounded(self, method: str, handler: Handler) -> Handler:
        answer: Any
        answer, as_stream = (
            (handler.unary_stream, grpc.stream_stream_rpc_method_handler)
            if handler.response_streaming
            else (handler.unary_unary, grpc.stream_unary_rpc_method_handler)
        )

        async def bounded(messages: AsyncIterator[Message], context: Context) -> Any:
            message, held_bytes = await self._take_in(method, context)
            try:
                return await answer(message, context)
            finally:
                self._room.release(held_bytes)

        return as_stream(bounded, handler.request_deserializer, handler.response_serializer)

    async def _take_in(self, method: str, context: Context) -> tuple[Message, int]:
        """Return a call's message and the room that it holds; end the call where none comes."""
        began_s = time.monotonic()
        clients_s = context.time_remaining()
        cut = clients_s is None or clients_s > self._within_s  # else gRPC ends it
        code: grpc.StatusCode | None = grpc.StatusCode.CANCELLED
        held_bytes = needed_bytes = 0
        try:
            async with asyncio.timeout(self._within_s) if cut else nullcontext():
                await self._room.acquire(self._message_max_bytes)
                held_bytes = self._message_max_bytes
                message: Any = await context.read()
            if message is not grpc.aio.EOF:
                code, needed_bytes = None, min(message.ByteSize(), held_bytes)
                return message, needed_bytes
            # gRPC ends one that is too large by itself.
            code, text = grpc.StatusCode.INVALID_ARGUMENT, "the call has no message"
        except DecodeError:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, "the message is not of the method's type"
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            text = "the request did not arrive within the deadline"
        finally:
            self._room.release(held_bytes - needed_bytes)
            if code is not None:
                took_s = time.monotonic() - began_s
                count_call(method, seen(code, took_s, clients_s), took_s)
        await context.abort(code, text)
        raise AssertionError("abort raises")


class Server:
    """A grpc.aio server, its health service, and the port it got."""

    def __init__(
        self,
        service: str,
        needs: Mapping[str, Need],
        door: Door,
        *,
        receive_max_bytes: int,
        messages_max_bytes: int = MESSAGES_MAX_BYTES,
        max_concurrent: int = 256,
        arrival_at_most_s: float = ARRIVAL_AT_MOST_S,
    ) -> None:
        """service: its whole name. needs: what its methods, by theirs, ask of callers' tokens.

        receive_max_bytes: of one message. messages_max_bytes: of all that are in memory.
        arrival_at_most_s: that a message may take to arrive.
        """
        self._door = door
        guards = door.guards({f"/{service}/{method}": need for method, need in needs.items()})
        self.grpc = grpc.aio.server(
            maximum_concurrent_rpcs=max_concurrent,
            # In this order: the door looks at a token before the message comes, at the rest after.
            interceptors=[
                BoundedMessages(receive_max_bytes, messages_max_bytes, arrival_at_most_s),
                *guards,
            ],
            options=[
                ("grpc.max_receive_message_length", receive_max_bytes),
                ("grpc.max_send_message_length", REPLY_MAX_BYTES),
                # Of a message that nobody reads yet only 64 KiB come, however fast the line is.
                ("grpc.http2.bdp_probe", 0),
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
