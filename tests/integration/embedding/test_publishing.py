"""What `freshet items publish` says of items that took no effect, beside a real embedding."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from freshet.contract.items import Item
from services.cli.__main__ import app
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.valkey import EmbeddedValkey
from tests.integration.embedding.shop import Shop

pytestmark = pytest.mark.integration

LONG_AGO_MS = 1_600_000_000_000


@pytest.fixture
def file(
    kafka_broker: EmbeddedKafka,
    valkey_server: EmbeddedValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return where to write items; commands find the servers."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_broker.bootstrap)
    monkeypatch.setenv("REDIS_URL", valkey_server.url)
    monkeypatch.setenv("FRESHET_DATA", str(tmp_path))
    return tmp_path / "items.jsonl"


async def publish(file: Path, *items: dict[str, Any], options: tuple[str, ...] = ()) -> Result:
    """Publish items by the command, as a thread: it runs an event loop of its own."""

    def run() -> Result:
        file.write_text("".join(json.dumps(item) + "\n" for item in items))
        return CliRunner().invoke(app, ["items", "publish", str(file), "--wait", "60", *options])

    return await asyncio.to_thread(run)


async def test_overtaken_item_is_named_and_the_others_are_not(shop: Shop, file: Path) -> None:
    await shop.publish(Item(item_id="mug", title="Mug", updated_ms=LONG_AGO_MS + 1))
    await shop.has_vector("mug")
    old = {"item_id": "mug", "title": "Old mug", "updated_ms": LONG_AGO_MS}
    other = {"item_id": "lamp", "title": "Lamp", "updated_ms": LONG_AGO_MS}
    result = await publish(file, other, old)
    assert result.exit_code == 0
    assert "2 items published" in result.stdout
    assert f"{file}:2: mug changed nothing: a newer record counts already" in result.stdout
    assert "lamp" not in result.stdout


async def test_item_published_again_after_its_delete_is_not_overtaken(
    shop: Shop, file: Path
) -> None:
    season = {"item_id": "season", "title": "Sledge", "updated_ms": LONG_AGO_MS}
    for _ in range(2):
        result = await publish(file, season, options=("--json",))
        fates = json.loads(result.stdout)
        assert fates.pop("published") == 1
        assert not any(fates.values())  # neither refused nor overtaken
        assert (await shop.has_vector("season")).item.title == "Sledge"
        await shop.delete("season")
        await shop.is_gone("season")


async def test_refused_item_is_named_with_its_reason(shop: Shop, file: Path) -> None:
    result = await publish(file, {"item_id": "bare"}, {"item_id": "dressed", "title": "Coat"})
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "refused" in line]
    assert line.startswith(f"{file}:1: bare refused: ")
