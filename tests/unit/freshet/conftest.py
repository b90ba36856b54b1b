"""A double of ranking, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from freshet import Client
from tests.unit.freshet.ranking_double import RankingDouble, serve


@pytest.fixture
async def ranking() -> AsyncIterator[RankingDouble]:
    async with serve() as double:
        yield double


@pytest.fixture
async def client(ranking: RankingDouble) -> AsyncIterator[Client]:
    async with Client(ranking.address, timeout=30) as client:
        yield client
