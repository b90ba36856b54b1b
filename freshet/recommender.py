"""The channel and the typed stub to ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from freshet.v1 import recommender_pb2_grpc

if TYPE_CHECKING:
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

_OPTIONS = [
    # Each call goes to the next pod behind a headless Service, not all to the first.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
]


def ranking(address: str) -> tuple[grpc.aio.Channel, RecommenderAsyncStub]:
    """Return a channel (the caller closes it) and the stub on it; `address` is host:port."""
    channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
    return channel, recommender_pb2_grpc.RecommenderStub(channel)
