"""Answer a list with the least: what gRPC, Redis, the index and the arithmetic cost by themselves.

No filters, rules, reasons, impressions or deadlines, and random tastes. `tests.bench.serving`
starts it beside ranking and calls both by turns, so that their ratio says what ranking adds,
however busy the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import os

import grpc
import hnswlib
import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from freshet.v1 import recommender_pb2 as pb
from services.ranking.server import SERVICE
from shared.catalogue import snapshots
from shared.catalogue.arrow import labels_of, read_table
from shared.clock import now_ms
from shared.runtime.redis_client import RedisExchange
from shared.users import keys

QUERIES = 5
NEAREST_EACH = 60
OTHERS = 200  # candidates that no search proposed
SETS = [f"floor:{number}" for number in range(13)]  # as many as co-visits and scopes are read
SET_BYTES = 1_200
POOL = 50  # what the list is chosen from
DIVERSITY = 0.2


class Floor:
    """Answers Recommend, and nothing else."""

    def __init__(
        self, exchange: RedisExchange, graph: hnswlib.Index, vectors: NDArray[np.float32]
    ) -> None:
        """vectors: (n, d) by the graph's labels."""
        self._exchange = exchange
        self._graph = graph
        self._vectors = vectors
        self._rng = np.random.default_rng(0)

    async def recommend(
        self,
        request: pb.RecommendRequest,
        context: grpc.aio.ServicerContext[pb.RecommendRequest, pb.RecommendResponse],
    ) -> pb.RecommendResponse:
        """Return a list without meaning, made by the usual steps."""
        await self._exchange([("GET", keys.user(request.user_id)), ("MGET", *SETS)])
        count = len(self._vectors)
        queries = self._vectors[self._rng.integers(0, count, QUERIES)]
        near, _ = self._graph.knn_query(queries, k=min(NEAREST_EACH, count))
        others = self._rng.integers(0, count, OTHERS)
        rows = np.sort(np.concatenate((near.ravel().astype(np.int64), others)))
        rows = rows[np.concatenate(([True], rows[1:] != rows[:-1]))]
        vectors = self._vectors.take(rows, axis=0)
        scores = np.ascontiguousarray((vectors @ queries.T).T).max(axis=0)
        return pb.RecommendResponse(
            items=[
                pb.RankedItem(
                    item_id=f"item-{rows[index]}",
                    title=f"Item {rows[index]}",
                    score=scores[index],
                    sources=["session"],
                    reason="because you clicked another",
                )
                for index in _chosen(vectors, scores, request.k)
            ],
            request_id="0" * 32,
        )


def _chosen(vectors: NDArray[np.float32], scores: NDArray[np.float32], k: int) -> list[int]:
    """Choose k of the POOL best by marginal relevance."""
    pool = np.argpartition(-scores, min(POOL, len(scores) - 1))[:POOL]
    pool = pool[np.argsort(-scores[pool])]
    alike, worth = vectors[pool] @ vectors[pool].T, scores[pool].copy()
    nearest = np.zeros(len(pool), np.float32)
    chosen: list[int] = []
    for _ in range(min(k, len(pool))):
        best = int(((1 - DIVERSITY) * worth - DIVERSITY * nearest).argmax())
        worth[best] = -np.inf
        np.maximum(nearest, alike[best], out=nearest)
        chosen.append(int(pool[best]))
    return chosen


async def serve(port: int, redis_url: str, snapshots_url: str, space: str, dim: int) -> None:
    """Serve from the newest snapshot until killed."""
    snapshot = snapshots.newest(snapshots_url, space, dim, now_ms())
    assert snapshot is not None
    _, vectors = labels_of(read_table(snapshot.catalogue))
    graph = hnswlib.Index("ip", dim)
    graph.load_index(str(snapshot.index))
    graph.set_ef(96)
    graph.set_num_threads(1)
    store = redis.asyncio.Redis.from_url(redis_url)
    await store.mset({key: os.urandom(SET_BYTES) for key in SETS})
    server = grpc.aio.server()
    floor = Floor(RedisExchange(store.connection_pool), graph, vectors.astype(np.float32))
    method = grpc.unary_unary_rpc_method_handler(
        floor.recommend,
        request_deserializer=pb.RecommendRequest.FromString,
        response_serializer=pb.RecommendResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(SERVICE, {"Recommend": method})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.floor", description=__doc__)
    parser.add_argument("port", type=int, help="to listen on, loopback only")
    parser.add_argument("redis", help="URL")
    parser.add_argument("snapshots", help="URL of a folder with a snapshot")
    parser.add_argument("space", help="that the snapshot is of")
    parser.add_argument("dim", type=int, help="of the space")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.redis, options.snapshots, options.space, options.dim))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
