"""Snapshots of the running service: made when due, when asked, and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import psutil
import pytest

from freshet.contract.items import Item
from shared.catalogue import snapshots
from shared.catalogue.arrow import from_table, read_table
from tests.integration.embedding.shop import Shop, open_shop
from tests.servers import ROOT, Service, eventually

pytestmark = pytest.mark.integration

Start = Callable[..., Service]


@pytest.fixture
def environ(kafka: str, valkey: str, tmp_path: Path) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
        "FRESHET_SNAPSHOTS": str(tmp_path / "snapshots"),
    }


@pytest.fixture
async def shop(kafka: str, space: str) -> AsyncIterator[Shop]:
    async with open_shop(kafka, space) as opened:
        yield opened


def post(service: Service, action: str) -> dict[str, Any]:
    """Ask the service's health port to do something."""
    request = urllib.request.Request(f"{service.health_url}/{action}", method="POST")
    with urllib.request.urlopen(request, timeout=60) as reply:
        return dict(json.load(reply))


def newest(environ: dict[str, str], space: str, dim: int) -> snapshots.Snapshot | None:
    return snapshots.newest(environ["FRESHET_SNAPSHOTS"], space, dim, int(time.time() * 1000))


async def fill(shop: Shop, count: int) -> int:
    """Publish items and wait for their vectors; returns the dimension."""
    for number in range(count):
        await shop.publish(Item(item_id=f"i{number}", title=f"Item {number}"))
    found = await shop.has_vector(f"i{count - 1}")

    async def all_there() -> bool:
        return len((await shop.vectors()).last) == count

    await eventually(all_there)
    return found.vector.size


async def test_asked_for_snapshot_holds_the_catalogue(
    start_service: Start, environ: dict[str, str], shop: Shop, space: str
) -> None:
    service = await start_service("embedding", environ).ready()
    dim = await fill(shop, 20)
    await shop.delete("i3")
    await shop.is_gone("i3")
    made = await asyncio.to_thread(post, service, "snapshot")
    assert made["items"] == 19
    found = newest(environ, space, dim)
    assert found is not None
    assert found.name == made["snapshot"]
    rows = from_table(read_table(found.catalogue))
    assert sorted(rows.ids) == sorted(f"i{n}" for n in range(20) if n != 3)
    index = hnswlib.Index("ip", dim)
    index.load_index(str(found.index))
    labels, _ = index.knn_query(rows.vectors.astype(np.float32), k=1)
    assert labels[:, 0].tolist() == list(range(19))
    records = (await shop.vectors()).records
    assert sum(found.manifest.offsets.values()) == len(records)
    status = service.status()["snapshot"]
    assert isinstance(status, dict)
    assert status["items"] == 19


async def test_snapshot_is_made_by_itself_when_enough_has_changed(
    start_service: Start, environ: dict[str, str], shop: Shop, space: str
) -> None:
    environ |= {"FRESHET_SNAPSHOT_FRESH_AT_LEAST": "10"}
    await start_service("embedding", environ).ready()
    dim = await fill(shop, 12)
    await eventually(lambda: newest(environ, space, dim), within_s=30, what="a snapshot")


async def test_nothing_to_index_is_said_and_harms_nothing(
    start_service: Start, environ: dict[str, str], shop: Shop
) -> None:
    service = await start_service("embedding", environ).ready()
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(post, service, "snapshot")
    with refused.value as error:
        assert error.code == 503
        assert b"no items in space" in error.read()
    await shop.publish(Item(item_id="a", title="A"))
    await shop.has_vector("a")


async def test_made_by_hand_and_the_next_begins_with_it(
    start_service: Start, environ: dict[str, str], shop: Shop, space: str
) -> None:
    await start_service("embedding", environ).ready()
    dim = await fill(shop, 10)
    names = []
    for _ in range(3):
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.embedding", "snapshot"],
            env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        names.append(json.loads(ended.stdout)["snapshot"])
    assert b"10 items from snapshot" in ended.stderr
    found = newest(environ, space, dim)
    assert found is not None
    assert found.name == names[-1]
    folders = [p.name for p in (Path(environ["FRESHET_SNAPSHOTS"]) / space).iterdir() if p.is_dir()]
    assert sorted(folders) == names[1:]


def builds(service: Service) -> list[psutil.Process]:
    """Return the processes that build snapshots for a service."""
    children = psutil.Process(service.process.pid).children(recursive=True)
    return [child for child in children if "snapshot" in child.cmdline()]


async def builds_once_there_are_any(service: Service) -> list[psutil.Process]:
    """Return them as soon as there are any."""
    await eventually(lambda: builds(service))
    return builds(service)


async def test_a_second_one_is_refused_at_once_and_never_waits_in_line(
    start_service: Start, environ: dict[str, str], shop: Shop, space: str
) -> None:
    service = await start_service("embedding", environ).ready()
    await fill(shop, 5)
    first = asyncio.create_task(asyncio.to_thread(post, service, "snapshot"))
    (build,) = await builds_once_there_are_any(service)
    build.suspend()
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(post, service, "snapshot")
        with refused.value as error:
            assert error.code == 409
            assert b"being made already" in error.read()
    assert builds(service) == [build]
    build.resume()
    assert (await first)["items"] == 5
    assert builds(service) == []  # none waited behind it


async def test_build_ends_when_its_service_is_killed(
    start_service: Start, environ: dict[str, str], shop: Shop
) -> None:
    service = await start_service("embedding", environ).ready()
    await fill(shop, 5)
    asking = asyncio.create_task(asyncio.to_thread(post, service, "snapshot"))
    (build,) = await builds_once_there_are_any(service)
    build.suspend()
    os.kill(service.process.pid, 9)
    build.resume()
    await eventually(lambda: not build.is_running() or build.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises((OSError, urllib.error.URLError)):
        await asking
