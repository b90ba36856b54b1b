"""`freshet up` through crashes: its own, its children's, and everything's at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient

from freshet.contract.items import encode_item
from freshet.contract.records import JSON
from services.cli.addresses import Addresses, read_running
from services.cli.demo import catalogue
from services.cli.demo.styles import STYLES
from services.cli.up.ports import USUAL_PORTS
from tests.e2e.shop import kind_named
from tests.e2e.system import Up, all_gone, jsonl
from tests.servers import ROOT, eventually

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

USER = "a-regular"
ITEMS = [catalogue.item(kind_named(kind), style, 0) for kind in ("lamp", "mug") for style in STYLES]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Run a system of the test's own."""
    with Up(tmp_path / "data") as system:
        system.start()
        yield system


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a filled system for tests that leave it as it was."""
    with Up(tmp_path_factory.mktemp("lasting")) as system:
        system.start()
        asyncio.run(_fill(system))
        yield system


async def _fill(up: Up) -> None:
    """Publish a few items, and a user's clicks on two lamps; return once all is in effect."""
    lines = "".join(encode_item(item, JSON).decode() + "\n" for item in ITEMS)
    up.json("items", "publish", "-", stdin=lines)
    await eventually(lambda: len(_list(up)) == len(ITEMS), what="all items in the list")
    clicks = [
        {"user_id": USER, "item_id": item.item_id, "type": "click", "event_id": item.item_id}
        for item in ITEMS[:2]
    ]
    token = up.json("events", "publish", "-", stdin=jsonl(clicks))["tokens"][-1]
    up.json("state", USER, "--after", token)


def _list(up: Up) -> list[str]:
    return [item["item_id"] for item in up.json("recommend", USER, "-k", "50")["items"]]


def _state(up: Up) -> dict[str, Any]:
    state: dict[str, Any] = up.json("state", USER)["state"]
    return state


async def _topics(up: Up) -> dict[str, int]:
    """Return the topics and how many partitions each has."""
    client = AIOKafkaAdminClient(bootstrap_servers=up.kafka.bootstrap_servers)
    await client.start()
    try:
        found = await client.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in found}
    finally:
        await client.close()


async def test_killed_with_all_its_children_it_finds_everything_again(up: Up) -> None:
    await _fill(up)
    await _let_valkey_write(up)
    before = (await _topics(up), _state(up), _list(up))

    children = up.kill(with_children=True)
    await eventually(lambda: all_gone(children), what="the end of all children")
    up.start()

    await eventually(lambda: len(_list(up)) == len(before[2]), what="all items after the restart")
    assert (await _topics(up), _state(up), _list(up)) == before


async def _let_valkey_write(up: Up) -> None:
    """Wait until its file holds what it has acknowledged: each second, a SIGKILL loses the rest."""
    assert up.running is not None
    with redis.Redis.from_url(up.running.addresses.redis) as client:
        assert client.waitaof(1, 0, 10_000)[0] == 1


async def test_no_process_outlives_a_supervisor_that_was_killed(up: Up) -> None:
    children = up.kill(with_children=False)

    assert len(children) > 5
    await eventually(lambda: all_gone(children), within_s=60, what="the end of all children")


@pytest.mark.parametrize("name", ["ranking", "sessions", "embedding", "gateway", "valkey", "kafka"])
async def test_a_killed_child_is_started_again_and_the_user_is_told(lasting: Up, name: str) -> None:
    state, listed, pid = _state(lasting), _list(lasting), _process(lasting, name)

    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        status = lasting.freshet("status", "--json", exit_code=None)
        return _process(lasting, name) not in (0, pid) and status.returncode == 0

    await eventually(back, within_s=60, what=f"the return of {name}")
    assert f"{name} ended (signal 9)" in lasting.log()
    await eventually(lambda: f"{name} is ready again" in lasting.log(), what="the good news")
    await eventually(lambda: _list(lasting) == listed, what="the list as before")
    assert _state(lasting) == state


def _process(up: Up, name: str) -> int:
    running = read_running(up.data)
    assert running is not None
    return running.processes[name]


async def test_a_stop_leaves_nothing_running_and_everything_kept(up: Up) -> None:
    await _fill(up)
    before, family = _list(up), up.family()

    assert up.stop() == 0
    assert all_gone(family)
    assert read_running(up.data) is None
    up.start()

    await eventually(lambda: len(_list(up)) == len(before), what="all items after the restart")
    assert _list(up) == before


async def test_fresh_starts_empty(up: Up) -> None:
    await _fill(up)
    up.stop()

    up.start("--fresh")

    assert _list(up) == []
    assert not up.json("state", USER)["known"]


def test_a_second_one_on_the_same_folder_is_refused(lasting: Up) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "services.cli", "up", "--data", str(lasting.data)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert second.returncode == 1
    assert f"in use by `freshet up` (process {lasting.pid})" in second.stderr


def test_taken_ports_are_replaced_by_free_ones(tmp_path: Path) -> None:
    with socket.socket() as taken, Up(tmp_path / "data") as system:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it already: that serves as well
            taken.bind(("127.0.0.1", USUAL_PORTS["FRESHET_RANKING_PORT"]))
            taken.listen()

        running = system.start()

        assert running.addresses.ranking != Addresses().ranking
        assert system.json("recommend", USER)["items"] == []


def test_refused_settings_are_told_and_nothing_stays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "up", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FRESHET_DEADLINE_MS": "soon"},
        check=False,
    )

    assert done.returncode == 1
    assert "ranking does not start: FRESHET_DEADLINE_MS must be a number" in done.stderr
    held = [process for process in psutil.process_iter(["cmdline"]) if _names(process, tmp_path)]
    assert held == []


def _names(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or ())


def test_processes_stay_within_two_gibibytes(lasting: Up) -> None:
    """Measure unshared memory of a quiet system: the bound is the demo's."""
    used = {
        process.pid: process.memory_full_info().uss
        for process in lasting.family()
        if process.is_running()
    }

    assert sum(used.values()) < 2 * 2**30, json.dumps(used)
