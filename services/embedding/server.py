"""Answer Embed and EmbedQuery over gRPC: check the request, encode within its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import grpc

from freshet.contract import bounds
from freshet.contract.items import Item, check_item, item_of_message
from freshet.contract.records import BadRecord
from freshet.errors import Unavailable
from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import EncodedVectors, ItemEncoder
from shared.access.door import Need
from shared.access.tokens import Scope
from shared.bundles.content import content_hash
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.deadline import Deadline

SERVICE: Final = "freshet.v1.Embedding"
ITEMS_AT_MOST: Final = 64
REQUEST_BYTES: Final = 32 * 1024 * 1024  # of one call; gRPC refuses larger ones
CALLS_AT_MOST: Final = 512  # more than are admitted, which refuses with reasons
NEEDS: Final = {"Embed": Need(Scope.SERVE), "EmbedQuery": Need(Scope.SERVE)}

Encoded = TypeVar("Encoded")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def admission(at_most: int, unit: str) -> Admission:
    """Return what lets calls in by their items or queries."""
    return Admission(at_most, unit=f"{unit} are", first_guess_s=0.01, retry_after_s=0.25)


class Encoding(Protocol):
    """The spaces that are encoded, as Spaces has them."""

    @property
    def served_space(self) -> str:
        """The space of calls that name none."""
        ...

    def encoder(self, space: str) -> ItemEncoder | None:
        """Return what encodes in a space, None where that is not done here."""
        ...


class EmbeddingServer(embedding_pb2_grpc.EmbeddingServicer):
    """Answers in the space that a call names: items behind the arrivals, queries before them.

    Queries do not wait for items, so each has a guard of its own.
    """

    def __init__(
        self,
        spaces: Encoding,
        items: CallGuard,
        queries: CallGuard,
        *,
        embed_s: float,
        query_s: float,
    ) -> None:
        """embed_s, query_s: deadlines of calls that set none."""
        self._spaces = spaces
        self._items = items
        self._queries = queries
        self._embed_s = embed_s
        self._query_s = query_s

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """See protos/freshet/v1/embedding.proto."""
        count = len(request.items)
        units = count if 1 <= count <= ITEMS_AT_MOST else 1  # else it is out of bounds
        return await self._items.answer(
            "Embed", request, context, self._embed, self._embed_s, units
        )

    async def EmbedQuery(
        self, request: pb.EmbedQueryRequest, context: Context
    ) -> pb.EmbedQueryResponse:
        """See protos/freshet/v1/embedding.proto."""
        return await self._queries.answer(
            "EmbedQuery", request, context, self._embed_query, self._query_s
        )

    async def _embed(self, request: pb.EmbedRequest, deadline: Deadline) -> pb.EmbedResponse:
        items = _items(request)
        space, encoder = self._in_space(request.space)
        encoding = asyncio.gather(*(self._embed_one(item, encoder) for item in items))
        return pb.EmbedResponse(space=space, items=await _within(deadline, encoding))

    def _in_space(self, space: str) -> tuple[str, ItemEncoder]:
        """Return the space that a call is about and its encoder. Raises Unavailable."""
        space = space or self._spaces.served_space
        encoder = self._spaces.encoder(space)
        if encoder is None:
            raise Unavailable(f"space {space!r} is not encoded here")
        return space, encoder

    async def _embed_one(self, item: Item, encoder: ItemEncoder) -> pb.EmbeddedItem:
        try:
            content_hash(item)  # refuses an item without content
            vectors = await encoder.encode(item, Priority.BACKFILL)
        except BadRecord as error:
            return pb.EmbeddedItem(item_id=item.item_id, error=str(error))
        return pb.EmbeddedItem(
            item_id=item.item_id,
            vector=vectors.vector.tobytes(),
            image_vector=vectors.image_vector.tobytes(),
            text_vector=vectors.text_vector.tobytes(),
            picture_missing=vectors.picture_missing,
        )

    async def _embed_query(
        self, request: pb.EmbedQueryRequest, deadline: Deadline
    ) -> pb.EmbedQueryResponse:
        space, encoder = self._in_space(request.space)
        vectors = await _within(deadline, self._encode_query(request, encoder))
        own = vectors.text_vector if vectors.text_vector.size else vectors.image_vector
        return pb.EmbedQueryResponse(
            space=space, vector=vectors.vector.tobytes(), own_vector=own.tobytes()
        )

    async def _encode_query(
        self, request: pb.EmbedQueryRequest, encoder: ItemEncoder
    ) -> EncodedVectors:
        """Check a query and encode it. Raises BadRecord."""
        kind = request.WhichOneof("query")
        if kind == "text":
            bounds.check_query_text(request.text)
            return await encoder.encode_text(request.text)
        if kind == "image":
            bounds.check_query_image(request.image)
            return await encoder.encode_picture(request.image)
        bounds.refuse("query", "text or image", "absent")


def _items(request: pb.EmbedRequest) -> list[Item]:
    """Return the items of a request, checked. Raises BadRecord."""
    if not 1 <= len(request.items) <= ITEMS_AT_MOST:
        bounds.refuse("items", f"1-{ITEMS_AT_MOST}", str(len(request.items)))
    items = []
    for number, message in enumerate(request.items):
        item = item_of_message(message)
        try:
            check_item(item)
        except BadRecord as error:
            raise BadRecord(error.error_class, f"items[{number}].{error}") from None
        items.append(item)
    return items


async def _within(deadline: Deadline, encoding: Awaitable[Encoded]) -> Encoded:
    """Await an encoding. Raises TimeoutError at the deadline."""
    try:
        async with asyncio.timeout(deadline.left_s()):
            return await encoding
    except TimeoutError:
        raise TimeoutError("not encoded within the deadline") from None
