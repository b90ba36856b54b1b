"""Starting, following the active space, and what the service does while others are gone."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from freshet import kafka_clients as kafka_edge
from freshet.channel import open_stub
from freshet.contract import topics
from freshet.v1 import recommender_pb2 as pb
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from services.embedding.snapshots import build
from services.ranking.service import RankingService
from shared.bundles.bundle import MANIFEST, RANKER, describe
from shared.bundles.ranker import RankerModel
from shared.bundles.store import BundleStore, Publication
from shared.catalogue import snapshots
from shared.catalogue.arrow import to_table, write_table
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Manifest
from shared.clock import now_ms
from shared.runtime.service import Fatal
from shared.users import keys
from tests import servers
from tests.integration.ranking.world import DIM, SPACE, World, world
from tests.servers import eventually
from tests.unit.ranking.shop import Shop, item_vector, near
from tests.unit.shared.bundles.graphs import ranker_model

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("collector")]


async def test_before_it_is_ready_it_says_so(kafka: str, valkey: str) -> None:
    there = World(kafka, valkey, {})
    starting = asyncio.create_task(there.service.start())  # waits: no bundle is active
    try:
        await eventually(lambda: there.service.grpc_port, what="a port")
        channel, stub = open_stub(f"127.0.0.1:{there.service.grpc_port}")
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=5)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert refused.value.details() == "not ready: the catalogue is still being read"
            await there.activate()
            await asyncio.wait_for(starting, 30)
            reply = await stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=5)
            assert len(reply.items) == 0  # ready, and the catalogue is empty
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await there.service.stop()
        await there.producer.stop()
        await there.redis.aclose()


async def test_restarted_it_serves_from_snapshot_and_topic(
    kafka: str, valkey: str, tmp_path: Path
) -> None:
    shop = Shop()
    shop.user("ann", [("click", "lamp-3")])
    url = str(tmp_path)
    async with world(kafka, valkey, shop.items, FRESHET_SNAPSHOTS=url) as there:
        await there.copy(shop.reader)
        listed = await there.ids("ann")
        name = await asyncio.to_thread(write_snapshot, url, shop, await ends(there))

        async def adopted() -> bool:
            return (await there.recommend("ann")).versions.snapshot == name

        await eventually(adopted, within_s=20, what="the new snapshot's index")
        assert await there.ids("ann") == listed
        await there.delete(listed[0])
        await there.put([item_vector("lamp-new", near(0, 9), arrived_ms=now_ms())])

        again = RankingService(there.settings)
        await again.start()
        channel, stub = open_stub(f"127.0.0.1:{again.grpc_port}")
        try:
            async with channel:
                reply = await stub.Recommend(pb.RecommendRequest(user_id="ann", k=100), timeout=5)
            assert reply.versions.snapshot == name
            found = {item.item_id for item in reply.items}
            assert "lamp-new" in found
            assert listed[0] not in found
        finally:
            await again.stop()


async def ends(there: World) -> dict[int, int]:
    """Return where the topic ends, by partition."""
    consumer = kafka_edge.consumer(there.kafka, topics.item_vectors(SPACE).name)
    await consumer.start()
    try:
        found = await consumer.end_offsets(list(consumer.assignment()))
    finally:
        await consumer.stop()
    return {tp.partition: end for tp, end in found.items()}


def write_snapshot(url: str, shop: Shop, offsets: dict[int, int]) -> str:
    """Write the shop's catalogue as a snapshot, as embedding does."""
    rows = shop.catalogue.copy_rows()
    manifest = Manifest(
        space=SPACE,
        dim=DIM,
        count=len(rows.ids),
        m=snapshots.HNSW_M,
        ef_construction=snapshots.HNSW_EF_CONSTRUCTION,
        offsets=offsets,
        created_ms=now_ms(),
    )

    def fill(folder: Path) -> None:
        write_table(to_table(rows), folder / snapshots.CATALOGUE)
        build.save_index(rows.vectors, manifest, 1, folder / snapshots.INDEX)

    return snapshots.write(url, manifest, fill, lambda folder: None)


async def test_it_follows_the_active_space_without_a_gap_and_holds_no_other(
    kafka: str, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, monitored = Shop(each=5), weakref.WeakSet[Catalogue]()
    make = Catalogue.__init__

    def monitor(self: Catalogue, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        monitored.add(self)

    monkeypatch.setattr(Catalogue, "__init__", monitor)
    async with world(kafka, valkey, shop.items) as there:
        name = topics.item_vectors("other").name
        await kafka_edge.ensure_topics(there.kafka, [topics.item_vectors("other")])
        vector = np.eye(8, dtype=np.float16)[0]
        moved = msgspec.structs.replace(item_vector("moved", vector), space="other")
        await there.put([moved], topic=name)
        await there.activate("other", 8)

        async def switched() -> bool:
            reply = await there.recommend("nobody")  # answered all the time
            return reply.versions.space == "other"

        await eventually(switched, within_s=20, what="the other space")
        assert await there.ids("nobody") == ["moved"]
        await there.activate()
        await eventually(
            lambda: there.service.status()["catalogue"]["space"] == SPACE,
            within_s=30,
            what="the first space again",
        )

        def alone() -> bool:
            gc.collect()  # which finds no cycle that was there when the collector was tuned
            return len(monitored) == 1

        await eventually(alone, within_s=30, what="the others to be freed")
        assert len((await there.recommend("nobody")).items) == 10


def published(folder: Path, space: str, ranker: bytes, parts: Sequence[Sequence[float]]) -> str:
    """Publish a bundle of which ranking reads the ranker alone; return the store's URL."""
    manifest = {
        "format": 2,
        "space": space,
        "dim": 8,
        "golden": {"ranker_parts": parts},
        "image": {"width": 1},
        "text": {"width": 1, "max_tokens": 1},
        "files": {RANKER: describe(ranker)},
    }
    (folder / RANKER).write_bytes(ranker)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    publication = Publication(space=space, dim=8, published_ms=1, files=(MANIFEST, RANKER))
    BundleStore(str(folder / "bundles")).publish(folder, publication)
    return str(folder / "bundles")


async def move_to(there: World, space: str) -> None:
    """Let another space have one item, and be served."""
    await kafka_edge.ensure_topics(there.kafka, [topics.item_vectors(space)])
    moved = item_vector("moved", np.eye(8, dtype=np.float16)[0])
    moved = msgspec.structs.replace(moved, space=space)
    await there.put([moved], topic=topics.item_vectors(space).name)
    await there.activate(space, 8)


async def test_a_published_bundle_brings_its_ranker_and_takes_it_along(
    kafka: str, valkey: str, tmp_path: Path
) -> None:
    model = ranker_model([1.0], ["freshness"])
    ranker = RankerModel(model)
    url = published(tmp_path, "other", model, ranker.golden().tolist())
    async with world(kafka, valkey, Shop(each=5).items, FRESHET_BUNDLES=url) as there:

        async def ranked_by(space: str, ranker: str) -> bool:
            versions = (await there.recommend("nobody")).versions
            return (versions.space, versions.ranker) == (space, ranker)

        assert await ranked_by(SPACE, "blend")
        await move_to(there, "other")
        await eventually(lambda: ranked_by("other", ranker.name), within_s=20, what="its ranker")
        await there.activate()
        await eventually(lambda: ranked_by(SPACE, "blend"), within_s=30, what="the blend again")


async def test_a_bundle_that_gives_something_else_here_is_not_served_and_the_present_one_is(
    kafka: str, valkey: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = published(tmp_path, "broken", ranker_model([1.0], ["freshness"]), [[9.0]] * 6)
    async with world(kafka, valkey, Shop(each=5).items, FRESHET_BUNDLES=url) as there:
        await move_to(there, "broken")
        why = "space broken cannot be served: bundle broken gives other ranker_parts here"
        await eventually(lambda: why in caplog.text, within_s=20, what="the reason")
        assert (await there.recommend("nobody")).versions.space == SPACE

        another = RankingService(there.settings)
        with pytest.raises(Fatal, match=why):  # it has none that it could go on with
            await another.start()
        await another.stop()
        await there.activate()


async def test_without_redis_lists_go_on_flagged_within_their_deadline(
    kafka: str, tmp_path: Path
) -> None:
    server = EmbeddedValkey(tmp_path, free_port())
    shop = Shop()
    shop.user("ann", [("click", "lamp-3")])
    shop.trends("all", {"rug-3": 8.0})
    try:
        async with world(kafka, server.start(), shop.items) as there:
            await there.copy(shop.reader)
            await there.service._trending.renew()
            assert list((await there.recommend("ann")).degraded) == []
            for end in (signal.SIGSTOP, signal.SIGKILL):
                os.killpg(server.pid, end)
                for _ in range(20):
                    began = time.monotonic()
                    listed = await there.stub.Recommend(
                        pb.RecommendRequest(user_id="ann"), timeout=1
                    )
                    assert time.monotonic() - began < 1
                    assert "state_unavailable" in listed.degraded
                    assert listed.items[0].item_id == "rug-3"
                    assert len(listed.items) == 10
            state = there.stub.State(pb.StateRequest(user_id="ann"), timeout=5)
            with pytest.raises(grpc.aio.AioRpcError, match="the state cannot be read in time"):
                await state
            server.kill()
            server.start()

            async def personal() -> bool:
                listed = await there.recommend("ann", k=5)
                return list(listed.degraded) == [] and listed.items[0].item_id[:4] == "lamp"

            await eventually(personal, within_s=10, what="personal lists again")
    finally:
        server.kill()


async def test_started_without_redis_it_is_ready_once_the_space_is_told(kafka: str) -> None:
    shop = Shop(each=5)
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    there = World(kafka, nowhere, {"FRESHET_SPACE": SPACE, "FRESHET_DIM": str(DIM)})
    await kafka_edge.ensure_topics(there.kafka, [topics.item_vectors(SPACE)])
    await there.producer.start()
    await there.put(shop.items)
    try:
        await there.service.start()
        channel, stub = open_stub(f"127.0.0.1:{there.service.grpc_port}")
        async with channel:
            reply = await stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=5)
        assert set(reply.degraded) == {"state_unavailable", "trending_stale"}
        assert len(reply.items) == 10
    finally:
        await there.service.stop()
        await there.producer.stop()
        await there.redis.aclose()


def test_a_bad_setting_ends_it_with_exit_code_2() -> None:
    environ = {**os.environ, "FRESHET_RANKING_PORT": "many"}
    ended = subprocess.run(
        [sys.executable, "-m", "services.ranking"], env=environ, capture_output=True, check=False
    )
    assert ended.returncode == 2
    said = "FRESHET_RANKING_PORT must be a whole number between 0 and 65535, was 'many'\n"
    assert ended.stderr.decode() == said


def test_a_space_without_its_dimensions_ends_it_with_exit_code_2() -> None:
    environ = {**os.environ, "FRESHET_SPACE": "other"}
    ended = subprocess.run(
        [sys.executable, "-m", "services.ranking"], env=environ, capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.decode() == "FRESHET_DIM must be set with FRESHET_SPACE='other', was 0\n"


def test_a_bad_ranker_ends_it_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "ranker.onnx").write_bytes(b"no model")
    environ = {**os.environ, "FRESHET_RANKER": str(tmp_path / "ranker.onnx")}
    ended = subprocess.run(
        [sys.executable, "-m", "services.ranking"], env=environ, capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.decode().startswith(
        "FRESHET_RANKER: it cannot be loaded: it is not a serialized ONNX model"
    )


async def test_the_process_answers_and_ends_within_seconds_of_sigterm(
    kafka: str, valkey: str, start_service: Callable[..., servers.Service]
) -> None:
    shop = Shop(each=5)
    there = World(kafka, valkey, {})
    await kafka_edge.ensure_topics(there.kafka, [topics.item_vectors(SPACE)])
    await there.producer.start()
    await there.put(shop.items)
    await there.producer.stop()
    await there.activate()
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": valkey, "FRESHET_RANKING_PORT": "0"}
    service = await start_service("ranking", environ).ready()
    channel, stub = open_stub(f"127.0.0.1:{service.status()['grpc_port']}")
    async with channel:
        reply = await stub.Recommend(pb.RecommendRequest(user_id="ann", k=3), timeout=5)
        assert len(reply.items) == 3
    began = time.monotonic()
    assert await asyncio.to_thread(service.stop) == 0
    assert time.monotonic() - began < 15
    assert await there.redis.get(keys.ACTIVE_BUNDLE) is not None
    await there.redis.aclose()
