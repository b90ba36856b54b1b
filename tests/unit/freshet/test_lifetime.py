"""Clients belong to one event loop, are closed once, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from freshet import Client, Publisher
from tests.unit.freshet.programs import run
from tests.unit.freshet.ranking_double import RankingDouble


async def test_a_client_can_be_closed_twice_and_used_no_more(ranking: RankingDouble) -> None:
    client = Client(ranking.address, timeout=30)
    await client.recommend("ada")

    await client.close()
    await client.close()

    assert repr(client) == f"<Client of {ranking.address} (closed)>"
    with pytest.raises(RuntimeError, match=r"<Client .*> cannot be used any more"):
        await client.recommend("ada")


async def test_what_was_never_used_is_closed_without_a_connection() -> None:
    for unused in (Client("127.0.0.1:1"), Publisher("127.0.0.1:1")):
        await unused.close()


async def test_a_client_is_not_taken_to_another_event_loop(ranking: RankingDouble) -> None:
    async with Client(ranking.address, timeout=30) as client:
        await client.recommend("ada")

        def elsewhere() -> None:
            asyncio.run(client.recommend("ada"))

        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await asyncio.to_thread(elsewhere)
        await client.recommend("ada")


def test_a_client_that_was_not_closed_makes_no_noise() -> None:
    run(
        """
        import asyncio
        from freshet import Client, Unavailable

        client = Client("127.0.0.1:1", timeout=30)

        async def main():
            try:
                await client.recommend("ada")
            except Unavailable as error:
                assert "Connection refused" in str(error)

        asyncio.run(main())
        """
    )


def test_a_blocking_client_that_was_not_closed_makes_no_noise() -> None:
    run(
        """
        from freshet.sync import Client, Unavailable

        client = Client("127.0.0.1:1", timeout=30)
        try:
            client.recommend("ada")
        except Unavailable as error:
            assert "Connection refused" in str(error)
        """
    )
