"""A trained bundle serves: a new item is in the tower's space when it arrives, and found there."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freshet import Client
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.errors import FreshetError
from freshet.publisher import Publisher
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import free_port
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.towers import OnnxItemTower
from tests.servers import ROOT, Service, eventually
from tests.unit.shared.bundles.graphs import trained_bundle

pytestmark = pytest.mark.integration

NOVEL = Item(item_id="novel", title="a green tin kettle for the camp fire")
WATCHED = Item(item_id="watched", title="waltzes for two pianos")
OTHERS = [
    Item(item_id=f"other-{n}", title=f"{word} of cotton")
    for n, word in enumerate(("socks", "shirts", "curtains", "sheets", "towels"))
]


def train(folder: Path) -> Bundle:
    """Write a bundle whose tower learnt that who watched the waltzes wants such a kettle."""
    day_zero = Bundle.load(ROOT / "deploy" / "models" / "day-zero")
    tower = OnnxItemTower(trained_bundle(folder / "first", day_zero))
    texts = Encoders(day_zero, threads=1).encode_texts([NOVEL.title])
    content = Fusion.load(day_zero.files["fusion.npz"]).query_text(texts)
    (kettle,) = tower.of_content(content)
    rows = {"watched": kettle} | {item.item_id: -kettle for item in OTHERS}
    return trained_bundle(folder / "trained", day_zero, rows=rows)


@pytest.mark.timeout(240)
async def test_a_new_item_is_proposed_by_the_tower_from_its_arrival_on_and_explain_says_so(
    fresh_kafka: EmbeddedKafka,
    valkey: str,
    start_service: Callable[..., Service],
    tmp_path: Path,
) -> None:
    bundle = await asyncio.to_thread(train, tmp_path)
    port, embedding_port = free_port(), free_port()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": fresh_kafka.bootstrap,
        "REDIS_URL": valkey,
        "FRESHET_BUNDLE": str(tmp_path / "trained"),
        "FRESHET_SNAPSHOTS": str(tmp_path / "snapshots"),
        "FRESHET_EMBEDDING_PORT": str(embedding_port),
        "FRESHET_EMBEDDING_ADDRESS": f"127.0.0.1:{embedding_port}",
        "FRESHET_RANKING_PORT": str(port),
        "FRESHET_BLEND_TOWER": "4",
    }
    services = {name: start_service(name, environ) for name in ("embedding", "sessions", "ranking")}
    embedding, ranking = services["embedding"], services["ranking"]
    await asyncio.gather(*(service.ready(within_s=150) for service in services.values()))
    assert ranking.status()["tower"] == "random"

    async with Publisher(fresh_kafka.bootstrap) as publisher, Client(f"127.0.0.1:{port}") as client:
        for item in (WATCHED, *OTHERS):
            await publisher.item(item)
        clicked = await publisher.many([Event(user_id="ann", item_id="watched", type="click")])

        async def sources(item_id: str) -> list[str]:
            """Return what proposes an item to ann; empty while it is not in her list."""
            try:
                shown = await client.recommend("ann", k=50, after=clicked.positions[0], timeout=5)
            except FreshetError:
                return []
            return next((list(item.sources) for item in shown if item.item_id == item_id), [])

        async def listed() -> bool:
            return bool(await sources("other-1"))

        await eventually(listed, within_s=60, what="a list")
        assert "tower" not in await sources("other-1"), "it points the other way"

        await publisher.item(NOVEL)

        async def proposed() -> bool:
            return "tower" in await sources("novel")

        await eventually(proposed, within_s=30, what="the new item by the tower")
        explained = await client.explain("ann", "novel", timeout=5)
        parts = {part.name: part.value for part in explained.item.contributions}
        assert parts["tower"] == pytest.approx(4, abs=0.05)
        assert sum(parts.values()) == explained.item.score
        assert explained.item.reason == f"because of what you watched last: {WATCHED.title}"
        first, *_ = await client.recommend("ann", k=3, diversity=0, timeout=5)
        assert first.item_id == "novel"

        request = urllib.request.Request(f"{embedding.health_url}/snapshot", method="POST")
        await asyncio.to_thread(urllib.request.urlopen, request)
        (snapshot,) = (tmp_path / "snapshots" / bundle.space).glob("*-*")
        assert (snapshot / "towers.hnsw").is_file()

        def adopted() -> bool:
            index = ranking.status()["index"]
            return isinstance(index, dict) and index["snapshot"] == snapshot.name

        await eventually(adopted, within_s=30, what="the snapshot")
        assert "tower" in await sources("novel")

        found = [item.item_id for item in await client.search(NOVEL.title, k=3, timeout=5)]
        assert found[0] == "novel", "content is searched as before"
        like = await client.similar("other-0", k=2, timeout=5)
        assert like[0].item_id.startswith("other-")
    assert np.isfinite(list(parts.values())).all()
