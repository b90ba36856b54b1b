"""A model that fails stops the reading of items; mended, all that was not acknowledged is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from freshet.contract import topics
from freshet.contract.items import Item
from freshet.kafka_clients import KafkaSettings
from services.embedding.service import EmbeddingService
from services.embedding.settings import EmbeddingSettings, SnapshotSettings
from shared.bundles import encoders
from shared.bundles.store import BundleStoreSettings
from shared.faults import SystemFault
from shared.runtime.redis_client import RedisSettings
from tests.integration.embedding.shop import open_shop
from tests.servers import eventually

pytestmark = pytest.mark.integration


@asynccontextmanager
async def running(kafka: str, valkey: str, folder: Path) -> AsyncIterator[EmbeddingService]:
    service = EmbeddingService(
        EmbeddingSettings(
            kafka=KafkaSettings(bootstrap_servers=kafka),
            redis=RedisSettings(valkey),
            port=0,
            health_port=0,
            snapshots=SnapshotSettings(url=str(folder)),
            bundles=BundleStoreSettings(str(folder / "bundles")),
        )
    )
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


async def test_a_model_that_fails_stops_it_and_once_mended_every_item_has_its_vector(
    kafka: str, valkey: str, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SystemFault("the model of embedding fails: a tensor cannot be allocated")

    items = [Item(item_id=f"i{n}", title=f"Lamp {n}") for n in range(3)]
    async with (
        running(kafka, valkey, tmp_path) as service,
        open_shop(kafka, space) as shop,
    ):
        await shop.publish(Item(item_id="first", title="A mug"))
        await shop.has_vector("first")
        monkeypatch.setattr(encoders, "_run", fail)
        for item in items:
            await shop.publish(item)

        await eventually(lambda: not service.health.ready, what="the fault")
        assert "a tensor cannot be allocated" in str(service.fault())
        assert not service.broken.is_set()
        await eventually(lambda: "in_flight" not in service.status(), what="the group's end")
        assert (await shop.read(topics.DEAD_LETTERS.name)).records == []
        assert list((await shop.vectors()).last) == ["first"]

    monkeypatch.undo()
    async with running(kafka, valkey, tmp_path), open_shop(kafka, space) as shop:
        for item in items:
            await shop.has_vector(item.item_id)
        assert (await shop.read(topics.DEAD_LETTERS.name)).records == []
