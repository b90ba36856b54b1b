"""Ask the embedding service for the vectors of texts and pictures."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from freshet.access import OPEN, Access, bearer
from freshet.channel import ROUND_ROBIN, RenewedStub
from freshet.contract.records import OUT_OF_BOUNDS, BadRecord
from freshet.errors import Unavailable
from freshet.v1 import embedding_pb2, embedding_pb2_grpc
from shared.breaker import Breaker

if TYPE_CHECKING:
    from freshet.v1.embedding_pb2_grpc import EmbeddingAsyncStub

log = logging.getLogger(__name__)

# What the query itself is to blame for; everything else is the service's absence.
_OF_THE_QUERY: Final = (grpc.StatusCode.INVALID_ARGUMENT,)
# What somebody has to mend: a search goes on by words meanwhile, and would not show it.
_OF_THE_TOKEN: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
LONG_S: Final = 0.2  # who was given less and did not answer may only be slow
_OPTIONS: Final = [
    ROUND_ROBIN,
    ("grpc.max_send_message_length", 5 * 1024 * 1024),
    # A service that comes up after this one is found within a second.
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class QueryVector(NamedTuple):
    """A query in the serving space, and in its modality's own."""

    vector: NDArray[np.float32]  # (d,) comparable with every item
    own: NDArray[np.float32]  # comparable with image_vectors or text_vectors


class EmbeddingClient:
    """Asks the service at an address; connects on first use and again by itself.

    While the service hangs few calls wait for it: all others would keep places that lists need.
    """

    def __init__(self, address: str, access: Access = OPEN, breaker: Breaker | None = None) -> None:
        """access: how this service comes in there. Raises OSError and ValueError for bad files."""
        self._breaker = breaker or Breaker()
        self._token = access.token_source()
        self._stub: RenewedStub[EmbeddingAsyncStub] = RenewedStub(
            address, embedding_pb2_grpc.EmbeddingStub, access.tls, access.certificate, _OPTIONS
        )

    async def encode(
        self, space: str, within_s: float, *, text: str = "", image: bytes = b""
    ) -> QueryVector:
        """Return the vectors of a text or a picture.

        Raises BadRecord for a picture that cannot be read, Unavailable where the service does not
        answer in time or serves another space.
        """
        request = (
            embedding_pb2.EmbedQueryRequest(text=text, space=space)
            if text
            else embedding_pb2.EmbedQueryRequest(image=image, space=space)
        )
        if not self._breaker.allows(time.monotonic()):
            raise Unavailable("the embedding service did not answer a moment ago")
        try:
            reply = await self._stub.latest().EmbedQuery(
                request, timeout=max(within_s, 0.001), metadata=bearer(self._token)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and within_s >= LONG_S:
                self._breaker.failed(time.monotonic())
            if error.code() in _OF_THE_QUERY:
                raise BadRecord(OUT_OF_BOUNDS, error.details() or "query refused") from None
            if error.code() in _OF_THE_TOKEN:
                log.error("embedding does not let ranking in: %s", error.details())
            raise Unavailable(f"the embedding service: {error.details()}") from None
        self._breaker.succeeded()
        if reply.space != space:
            raise Unavailable(f"the embedding service is at space {reply.space!r}, not {space!r}")
        return QueryVector(
            np.frombuffer(reply.vector, "<f2").astype(np.float32),
            np.frombuffer(reply.own_vector, "<f2").astype(np.float32),
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._stub.close()
