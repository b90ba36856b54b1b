"""The blocking client: any number of threads, one loop, and nothing left when it is closed."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from freshet import sync
from freshet.sync import Client, InvalidRequest, Unavailable
from tests.servers import eventually
from tests.unit.freshet.ranking_double import UNAVAILABLE, RankingDouble


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "freshet.sync"]


async def test_a_call_blocks_until_it_is_answered(ranking: RankingDouble) -> None:
    def ask() -> list[str]:
        with Client(ranking.address, timeout=30) as client:
            assert repr(client) == f"<Client of {ranking.address}>"
            assert client.state("ada").known
            assert client.forget("ada") == "3:1025"
            return [item.title for item in client.recommend("ada", k=5)]

    assert await asyncio.to_thread(ask) == ["Mug", "Cup"]
    assert loop_threads() == []


async def test_errors_and_retries_are_the_same(ranking: RankingDouble) -> None:
    ranking.failures.append(UNAVAILABLE)

    def ask() -> None:
        with Client(ranking.address, timeout=30) as client:
            client.recommend("ada")
            with pytest.raises(InvalidRequest, match="k must be between 1 and 500"):
                client.recommend("ada", k=501)

    await asyncio.to_thread(ask)
    assert len(ranking.calls) == 2


async def test_many_threads_share_clients_and_all_clients_one_loop(ranking: RankingDouble) -> None:
    def ask() -> None:
        with (
            Client(ranking.address, timeout=30) as one,
            Client(ranking.address, timeout=30) as other,
            ThreadPoolExecutor(8) as threads,
        ):
            users = [f"user-{number}" for number in range(100)]
            listed = [*threads.map(one.recommend, users[:50])]
            listed += threads.map(other.recommend, users[50:])
            assert all(len(each) == 2 for each in listed)
            assert len(loop_threads()) == 1

    await asyncio.to_thread(ask)
    assert {call.request.user_id for call in ranking.calls} == {f"user-{n}" for n in range(100)}
    assert loop_threads() == []


async def test_closing_ends_calls_of_other_threads(ranking: RankingDouble) -> None:
    ranking.silent = True
    client = Client(ranking.address, timeout=30)
    call = asyncio.create_task(asyncio.to_thread(client.recommend, "ada"))
    await eventually(lambda: ranking.calls, what="the call")

    await asyncio.to_thread(client.close)
    await asyncio.to_thread(client.close)

    with pytest.raises(Unavailable, match="closed while the call was under way"):
        await call
    with pytest.raises(RuntimeError, match="cannot be used any more"):
        client.recommend("ada")
    assert loop_threads() == []


async def test_after_the_last_client_another_starts_anew(ranking: RankingDouble) -> None:
    def ask() -> None:
        with Client(ranking.address, timeout=30) as client:
            client.recommend("ada")

    await asyncio.to_thread(ask)
    await asyncio.to_thread(ask)

    assert len(ranking.calls) == 2


async def test_clients_may_come_and_go_in_many_threads(ranking: RankingDouble) -> None:
    def ask(number: int) -> int:
        with Client(ranking.address, timeout=30) as client:
            return len(client.recommend(f"user-{number}"))

    def ask_all() -> list[int]:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(ask, range(80)))

    assert await asyncio.to_thread(ask_all) == [2] * 80
    assert loop_threads() == []


def test_what_was_never_used_starts_no_thread() -> None:
    Client("127.0.0.1:1").close()
    sync.Publisher("127.0.0.1:1").close()

    assert loop_threads() == []


async def test_a_loop_that_is_gone_as_after_a_fork_is_said_and_not_waited_for(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = sync._LoopThread()
    gone.stop()
    monkeypatch.setattr(sync, "_loop_thread", gone)

    with pytest.raises(RuntimeError, match="make another one"):
        gone.run(lambda: asyncio.sleep(0))

    def ask() -> int:
        with Client(ranking.address, timeout=30) as client:
            return len(client.recommend("ada"))

    assert await asyncio.to_thread(ask) == 2


async def test_a_process_that_was_forked_after_grpc_was_used_is_told(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_grpc_process", 1)  # as a child finds it

    with pytest.raises(RuntimeError, match="fork before the first call"):
        Client(ranking.address).recommend("ada")
