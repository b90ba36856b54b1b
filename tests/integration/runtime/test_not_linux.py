"""The services where nothing is there that only Linux has, as far as it can be taken away here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from freshet.contract.items import Item
from tests.integration.embedding.conftest import space as space
from tests.integration.embedding.shop import open_shop, picture
from tests.servers import HEALTH_PORTS, ROOT, Service

pytestmark = pytest.mark.integration

NOT_LINUX = Path(__file__).with_name("not_linux")


async def test_services_become_ready_and_a_picture_is_decoded(
    kafka: str, valkey: str, start_service: Callable[..., Service], space: str
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
        "FRESHET_RANKING_PORT": "0",
        "FRESHET_GATEWAY_PORT": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (NOT_LINUX, ROOT))),
    }
    started = [start_service(name, environ) for name in HEALTH_PORTS]
    for service in started:
        await service.ready()
    async with open_shop(kafka, space) as shop:
        await shop.publish(Item(item_id="lamp", image_bytes=picture()))
        assert (await shop.has_vector("lamp")).image_vector.size
    assert {service.stop() for service in started} == {0}
