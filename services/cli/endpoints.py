"""Reach what commands ask: settings from addresses, one call to ranking, health pages."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from freshet.access import OPEN, Access, bearer, check_secrecy
from freshet.settings import from_environment
from services.cli.addresses import Addresses, find_addresses

if TYPE_CHECKING:
    from freshet.calls import Metadata, Method
    from freshet.kafka_clients import KafkaSettings
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub
    from shared.runtime.redis_client import RedisSettings

CALL_TIMEOUT_S = 10.0
Request = TypeVar("Request")
Reply = TypeVar("Reply")


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


def bundles_url(where: Addresses) -> str:
    """Return where published bundles lie. Raises BadSetting for what is no folder and no URL."""
    from shared.bundles.store import BundleStoreSettings

    return from_environment(BundleStoreSettings, {"FRESHET_BUNDLES": where.bundles}).url


def access(where: Addresses) -> Access:
    """Return how to come in: by the environment, or not at all needed by what `up` runs here."""
    return OPEN if where.own else from_environment(Access, os.environ)


def _metadata(address: str, shown: Access) -> Metadata:
    """Return what carries the token, if any. Raises BadSetting where others could read it."""
    metadata = bearer(shown.token_source())
    if metadata:
        check_secrecy(address, shown.tls)
    return metadata


def ask_ranking(
    where: Addresses,
    method: Callable[[RecommenderAsyncStub], Method[Request, Reply]],
    request: Request,
) -> Reply:
    """Call a method of ranking once. Raises what the call raises, mostly grpc.aio.AioRpcError."""
    from freshet.channel import open_stub

    shown = access(where)
    metadata = _metadata(where.ranking, shown)

    async def run() -> Reply:
        channel, stub = open_stub(where.ranking, shown)
        async with channel:
            return await method(stub)(request, timeout=CALL_TIMEOUT_S, metadata=metadata)

    return asyncio.run(run())


def health_page(
    address: str, page: str, shown: Access = OPEN, *, post: bool = False, timeout_s: float = 5.0
) -> Any:
    """Return a health port's JSON page; shown: how to come in. Raises EndpointUnavailable."""
    url = f"{'https' if shown.tls else 'http'}://{address}"
    headers = dict(_metadata(address, shown))
    request = urllib.request.Request(
        f"{url}/{page}", headers=headers, method="POST" if post else "GET"
    )
    try:
        context = shown.ssl_context()
        with urllib.request.urlopen(request, timeout=timeout_s, context=context) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace").strip()
        raise EndpointUnavailable(f"{url}/{page} answered {error.code}: {text}") from None
    except OSError as error:
        raise EndpointUnavailable(
            f"nothing answers at {url} ({error}); start it with `freshet up`"
        ) from None
