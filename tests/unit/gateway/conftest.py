"""Doubles of Kafka and ranking, and a gateway before them that lets everybody in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from freshet import kafka_clients
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import RankingDouble, serve
from tests.unit.gateway.kit import GatewayKit, running


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> KafkaDouble:
    double = KafkaDouble()
    monkeypatch.setattr(kafka_clients, "producer", double.make)
    return double


@pytest.fixture
async def ranking() -> AsyncIterator[RankingDouble]:
    async with serve() as double:
        yield double


@pytest.fixture
async def gateway(ranking: RankingDouble, kafka: KafkaDouble) -> AsyncIterator[GatewayKit]:
    async with running(ranking.address) as kit:
        yield kit
