"""The gRPC door: Embed and EmbedQuery. Requests are checked here; what encodes stands elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, Protocol, TypeAlias, TypeVar

import grpc

from freshet.contract import bounds
from freshet.contract.bounds import IMAGE_BYTES
from freshet.contract.items import Item, item_of_message
from freshet.contract.records import BadRecord
from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.embedding.admission import PUSH_BACK_MS, Admission, Overloaded
from services.embedding.encode.batcher import Priority
from services.embedding.encode.content import content_hash
from services.embedding.items.item_cache import Vectors
from shared.runtime import metrics

SERVICE: Final = "freshet.v1.Embedding"
ITEMS_AT_MOST: Final = 64
TEXT_BYTES: Final = 1024
REQUEST_BYTES: Final = 32 * 1024 * 1024  # of one call; gRPC refuses larger ones
CALLS_AT_MOST: Final = 64
EMBED_S: Final = 30.0  # deadlines of calls that set none
QUERY_S: Final = 2.0

Reply = TypeVar("Reply")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = logging.getLogger(__name__)


class Encodes(Protocol):
    """What the door needs of ItemEncoder; each raises BadRecord."""

    async def encode(self, item: Item, priority: Priority) -> Vectors: ...

    async def encode_text(self, text: str) -> Vectors: ...

    async def encode_picture(self, data: bytes) -> Vectors: ...


class Embedding(embedding_pb2_grpc.EmbeddingServicer):
    """Answers from the service's encoder, behind the arrivals that wait for it."""

    def __init__(self, space: str, encoder: Encodes, admission: Admission) -> None:
        self._space = space
        self._encoder = encoder
        self._admission = admission

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """See protos/freshet/v1/embedding.proto."""
        return await self._call("Embed", context, lambda: self._embed(request, context))

    async def EmbedQuery(
        self, request: pb.EmbedQueryRequest, context: Context
    ) -> pb.EmbedQueryResponse:
        """See protos/freshet/v1/embedding.proto."""
        return await self._call("EmbedQuery", context, lambda: self._embed_query(request, context))

    async def _embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        items = _items(request)

        async def encode() -> list[pb.EmbeddedItem]:
            return await asyncio.gather(*(self._embed_one(item) for item in items))

        found = await self._admitted(len(items), _left_s(context, EMBED_S), encode)
        return pb.EmbedResponse(space=self._space, items=found)

    async def _embed_one(self, item: Item) -> pb.EmbeddedItem:
        try:
            content_hash(item)  # refuses an item without content
            vectors = await self._encoder.encode(item, Priority.BACKFILL)
        except BadRecord as error:
            return pb.EmbeddedItem(item_id=item.item_id, error=str(error))
        return pb.EmbeddedItem(
            item_id=item.item_id,
            vector=vectors.vector.tobytes(),
            image_vector=vectors.image_vector.tobytes(),
            text_vector=vectors.text_vector.tobytes(),
        )

    async def _embed_query(
        self, request: pb.EmbedQueryRequest, context: Context
    ) -> pb.EmbedQueryResponse:
        encode = _query(request, self._encoder)
        vectors = await self._admitted(1, _left_s(context, QUERY_S), encode)
        own = vectors.text_vector if vectors.text_vector.size else vectors.image_vector
        return pb.EmbedQueryResponse(
            space=self._space, vector=vectors.vector.tobytes(), own_vector=own.tobytes()
        )

    async def _admitted(
        self, items: int, left_s: float, encode: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        began_s, in_front = time.monotonic(), self._admission.in_flight
        with self._admission.enter(items, left_s):
            async with asyncio.timeout(left_s):
                reply = await encode()
        self._admission.took(items, in_front, time.monotonic() - began_s)
        return reply

    async def _call(
        self, method: str, context: Context, answer: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """Answer a call, and turn what goes wrong into a status."""
        began_s = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            return await answer()
        except BadRecord as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            await _abort(context, code, str(error))
        except Overloaded as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(PUSH_BACK_MS)),))
            await _abort(context, code, str(error))
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            await _abort(context, code, "not encoded within the deadline")
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", method)
            await _abort(context, code, "a fault of the service; its log says more")
        finally:
            metrics.REQUESTS.labels(method, code.name).inc()
            metrics.REQUEST_MS.labels(method).observe((time.monotonic() - began_s) * 1000)


def _items(request: pb.EmbedRequest) -> list[Item]:
    """Return the items of a request, checked. Raises BadRecord."""
    if not 1 <= len(request.items) <= ITEMS_AT_MOST:
        bounds.refuse("items", f"1-{ITEMS_AT_MOST}", str(len(request.items)))
    items = []
    for number, message in enumerate(request.items):
        try:
            items.append(item_of_message(message))
        except BadRecord as error:
            raise BadRecord(error.error_class, f"items[{number}].{error}") from None
    return items


def _query(request: pb.EmbedQueryRequest, encoder: Encodes) -> Callable[[], Awaitable[Vectors]]:
    """Return what encodes a checked query. Raises BadRecord."""
    kind = request.WhichOneof("query")
    if kind == "text":
        size = len(request.text.encode())
        if not 1 <= size <= TEXT_BYTES:
            bounds.refuse("text", f"1-{TEXT_BYTES} bytes", str(size))
        return lambda: encoder.encode_text(request.text)
    if kind == "image":
        if not 1 <= len(request.image) <= IMAGE_BYTES:
            bounds.refuse("image", f"1-{IMAGE_BYTES} bytes", str(len(request.image)))
        return lambda: encoder.encode_picture(request.image)
    bounds.refuse("query", "text or image", "absent")


def _left_s(context: Context, default_s: float) -> float:
    left_s = context.time_remaining()
    return default_s if left_s is None else max(left_s, 0.0)


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort always raises")
