"""Going over to another space, and leaving the one before."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshet.kafka_clients import KafkaSettings
from services.sessions.active_items import ActiveItems
from services.sessions.settings import SessionsSettings
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.catalogue import Catalogue
from shared.runtime import redis_client
from shared.runtime.redis_client import RedisSettings
from shared.runtime.service import tune_collector
from shared.users import keys
from tests.servers import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("collector")]


async def test_two_switches_later_only_the_items_that_are_folded_with_are_in_memory(
    kafka: str, valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, make = weakref.WeakSet[Catalogue](), Catalogue.__init__

    def note(self: Catalogue, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        held.add(self)

    monkeypatch.setattr(Catalogue, "__init__", note)
    redis = redis_client.connect(RedisSettings(url=valkey))
    settings = SessionsSettings(
        kafka=KafkaSettings(bootstrap_servers=kafka), snapshots=str(tmp_path)
    )

    async def activate(space: str) -> None:
        await redis.set(keys.ACTIVE_BUNDLE, msgspec.json.encode(ActiveBundle(space, 8)))

    await activate("first")
    items = ActiveItems(settings, redis)
    await items.start()
    tune_collector()  # as the service does once it has read what it folds with
    following = asyncio.create_task(items.run())
    for space in ("second", "third"):
        await activate(space)
        await eventually(lambda: items.catalogue.space == space, what=space)  # noqa: B023
    gc.collect()
    assert [catalogue.space for catalogue in held] == ["third"]
    following.cancel()
    await items.stop()
    await redis.aclose()
