"""Reach what commands ask: settings from addresses, one call to ranking, health pages."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from freshet.settings import from_environment
from services.cli.addresses import Addresses, find_addresses

if TYPE_CHECKING:
    from freshet.kafka_clients import KafkaSettings
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub
    from shared.runtime.redis_client import RedisSettings

CALL_TIMEOUT_S = 10.0
T = TypeVar("T")


class EndpointUnavailable(RuntimeError):
    """A service or server does not answer; the text says which, where, and how to start it."""


def addresses(data: Path) -> Addresses:
    """Return where everything is for a command that was given this data folder."""
    return find_addresses(data, os.environ)


def kafka_settings(where: Addresses) -> KafkaSettings:
    """Return Kafka's settings: security from the environment, the address as found."""
    from freshet.kafka_clients import KafkaSettings

    return from_environment(KafkaSettings, {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": where.kafka})


def redis_settings(where: Addresses) -> RedisSettings:
    """Return Redis' settings."""
    from shared.runtime.redis_client import RedisSettings

    return from_environment(RedisSettings, {**os.environ, "REDIS_URL": where.redis})


def ask_ranking(where: Addresses, ask: Callable[[RecommenderAsyncStub], Awaitable[T]]) -> T:
    """Call ranking once. Raises what the call raises, mostly grpc.aio.AioRpcError."""
    from freshet.channel import open_stub

    async def run() -> T:
        channel, stub = open_stub(where.ranking)
        async with channel:
            return await ask(stub)

    return asyncio.run(run())


def health_page(address: str, page: str, *, post: bool = False, timeout_s: float = 5.0) -> Any:
    """Return a health port's JSON page. Raises EndpointUnavailable."""
    request = urllib.request.Request(f"http://{address}/{page}", method="POST" if post else "GET")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace").strip()
        raise EndpointUnavailable(
            f"http://{address}/{page} answered {error.code}: {text}"
        ) from None
    except OSError as error:
        raise EndpointUnavailable(
            f"nothing answers at http://{address} ({error}); start it with `freshet up`"
        ) from None
