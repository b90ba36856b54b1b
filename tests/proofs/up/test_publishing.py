"""A bundle that is trained on the stream goes into the running system under load, and back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from freshet import Client, Event, Item, Publisher
from services.cli.demo import catalogue
from services.cli.demo.styles import STYLES
from shared.bundles.bundle import Bundle
from tests.bundles import EVALUATION, make_bundle
from tests.e2e.shop import kind_named
from tests.e2e.system import Up
from tests.servers import eventually

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

KINDS = ("lamp", "mug", "guitar", "backpack")
ITEMS = [catalogue.item(kind_named(kind), style, 0) for kind in KINDS for style in STYLES]
CLICKED = ITEMS[::3]  # so that there is something left to list
USERS = [f"shopper-{number}" for number in range(8)]
WATCHED = "watched"  # who clicks no more
DAY_ZERO = "day-zero-1"
WALKERS, STEPS = 120, 8  # whom a bundle is trained on: each goes round the items, one way or other
SMALL = """
[tower]
batch_events = 512
network = { dim = 16, heads = 2, length = 10, dropout = 0.0 }
[tower.training]
epochs = 30
patience = 6
learning_rate = 0.003
average = 0.9
warm_up = 5
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Run a system of the test's own, with a small shop in it."""
    with Up(tmp_path / "data") as system:
        system.start()
        asyncio.run(_fill(system))
        yield system


async def _fill(up: Up) -> None:
    async with _opened(up) as (publisher, client):
        for item in ITEMS:
            await publisher.item(item)
        await eventually(lambda: _all_listed(client), within_s=60, what="all items")
        for item in CLICKED[:3]:
            token = await publisher.event(
                Event(user_id=WATCHED, item_id=item.item_id, type="click")
            )
        await client.recommend(WATCHED, after=token, timeout=5.0)


def _walks() -> Iterator[Event]:
    """Return what walkers click; none comes twice to an item, so that each has what to expect."""
    rng = Random(0)
    for number in range(WALKERS):
        at, way = rng.randrange(len(ITEMS)), rng.choice((1, -1))
        for step in range(STEPS):
            item = ITEMS[(at + step * way) % len(ITEMS)]
            yield Event(user_id=f"walker-{number}", item_id=item.item_id, type="click")


async def _all_listed(client: Client) -> bool:
    wanted = [item.item_id for item in ITEMS]
    return len(await client.recommend("nobody", k=100, candidates=wanted)) == len(ITEMS)


@asynccontextmanager
async def _opened(up: Up) -> AsyncIterator[tuple[Publisher, Client]]:
    assert up.running is not None
    where = up.running.addresses
    async with Publisher(where.kafka) as publisher, Client(where.ranking) as client:
        yield publisher, client


class Load:
    """Visitors who click, look at lists and search, one call after the other; and a shop."""

    def __init__(self, publisher: Publisher, client: Client) -> None:
        self.calls: Counter[str] = Counter()
        self.spaces: Counter[str] = Counter()
        self.failures: list[str] = []
        self._publisher = publisher
        self._client = client

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        visits = [asyncio.create_task(self._visit(user)) for user in USERS]
        try:
            yield
        finally:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    async def _visit(self, user: str) -> None:
        for number in range(1_000_000):
            item = CLICKED[number % len(CLICKED)]
            click = Event(user_id=user, item_id=item.item_id, type="click")
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "click": partial(self._publisher.event, click),
                "recommend": partial(self._client.recommend, user, timeout=5.0),
                "similar": partial(self._client.similar, item.item_id, timeout=5.0),
                "search": partial(self._client.search, "a warm lamp", timeout=5.0),
                "picture": partial(self._client.search, image=item.image_bytes, timeout=5.0),
            }
            for name, call in calls.items():
                try:
                    reply = await call()
                    self.calls[name] += 1
                    if name != "click":
                        self.spaces[reply.versions.space] += 1
                        assert len(reply), "an empty list"
                except Exception as error:
                    self.failures.append(f"{name}: {error!r}")
            await asyncio.sleep(0.02)


async def _command(up: Up, *arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = await asyncio.to_thread(up.json, *arguments)
    return done


async def test_a_bundle_trained_on_the_stream_is_published_under_load_and_rolled_back(
    up: Up, tmp_path: Path
) -> None:
    """No request fails; a new item enters in the new space, where the tower expects it."""
    async with _opened(up) as (publisher, client):
        await publisher.many(_walks())
        config, bundle = tmp_path / "small.toml", tmp_path / "bundle"
        config.write_text(SMALL)
        options = ("--config", str(config), "--fits", str(tmp_path / "fits"))
        await asyncio.to_thread(up.train, "tower", "--bundle", str(bundle), *options)
        trained = Bundle.load(bundle, ())

        async def lists(space: str, item: Item | None = None) -> bool:
            """Say whether lists are of a space, by the user's history, and hold an item."""
            found = await client.recommend(WATCHED, k=100, explain=True, timeout=5.0)
            parts = {
                one.item_id: {part.name for part in one.contributions if part.value}
                for one in found
            }
            in_some = set().union(*parts.values())
            assert "session" in in_some, "the history counts in each space"
            assert ("tower" in in_some) == (found.versions.space == trained.space)
            if found.versions.space != space or item is None:
                return found.versions.space == space
            return item.item_id in parts and (space == DAY_ZERO or "tower" in parts[item.item_id])

        assert await lists(DAY_ZERO)
        load = Load(publisher, client)
        async with load.running():
            assert await _command(up, "models", "publish", str(bundle)) == {
                "space": trained.space,
                "active": True,
            }
            await eventually(
                lambda: lists(trained.space), within_s=60, what="lists of the new space"
            )
            new = catalogue.item(kind_named("lamp"), next(iter(STYLES)), 7)
            await publisher.item(new)
            await eventually(
                lambda: lists(trained.space, new), within_s=30, what="the new item there"
            )
            found = await client.search(new.title, k=3, timeout=5.0)
            assert new.item_id in {one.item_id for one in found}
            assert not found.degraded

            assert (await _command(up, "models", "rollback"))["space"] == DAY_ZERO
            await eventually(lambda: lists(DAY_ZERO, new), within_s=60, what="both, going back")

    assert load.failures == []
    assert min(load.calls.values()) > 50
    assert set(load.spaces) == {DAY_ZERO, trained.space}
    models = {one["space"]: one for one in up.json("models", "list")["models"]}
    assert (models[DAY_ZERO]["state"], models[trained.space]["state"]) == ("active", "previous")
    assert models[trained.space]["evaluation"] == trained.evaluation
    gain = trained.evaluation["ndcg@10"] / trained.evaluation["day_zero"]["ndcg@10"] - 1
    assert models[trained.space]["beside_day_zero"] == pytest.approx(gain)
    shown = [line.split() for line in up.freshet("models", "list").stdout.splitlines()]
    assert shown[1][-6:-5] == [f"{gain:+.1%}"]


def test_what_is_worse_damaged_or_there_already_is_not_published(up: Up, tmp_path: Path) -> None:
    worse = make_bundle(tmp_path / "worse", "worse", evaluation={**EVALUATION, "ndcg@10": 0.1})
    refused = up.freshet("models", "publish", str(worse), exit_code=1).stderr
    assert "worse is not published: ndcg@10 is 0.1000, at least 0.1568 is needed" in refused

    damaged = make_bundle(tmp_path / "damaged", "damaged")
    (damaged / "fusion.npz").write_bytes((damaged / "fusion.npz").read_bytes()[:-1] + b"x")
    refused = up.freshet("models", "publish", str(damaged), exit_code=1).stderr
    assert "fusion.npz is not the file that the manifest names" in refused

    strange = make_bundle(tmp_path / "strange", "strange")
    manifest = json.loads((strange / "manifest.json").read_bytes())
    manifest["golden"]["text_vectors"] = manifest["golden"]["picture_vectors"]
    (strange / "manifest.json").write_text(json.dumps(manifest))
    refused = up.freshet("models", "publish", str(strange), exit_code=1).stderr
    assert "gives other vectors here than where it was built" in refused

    same = make_bundle(tmp_path / "same", DAY_ZERO)
    refused = up.freshet("models", "publish", str(same), exit_code=1).stderr
    assert f"{DAY_ZERO} was there before" in refused

    assert [one["space"] for one in up.json("models", "list")["models"]] == [DAY_ZERO]
    assert "no bundle was served before" in up.freshet("models", "rollback", exit_code=1).stderr


def test_after_a_restart_what_was_published_is_served_and_force_goes_past_the_gate(
    up: Up, tmp_path: Path
) -> None:
    worse = make_bundle(tmp_path / "worse", "worse", evaluation={})
    done = up.freshet("models", "publish", str(worse), "--force")
    assert "worse is published by --force, past the gate" in done.stderr

    up.stop()
    up.start()

    assert up.json("recommend", WATCHED)["versions"]["space"] == "worse"
    assert up.json("status")["services"]["embedding"]["space"] == "worse"
    assert [one["forced"] for one in up.json("models", "list")["models"]] == [False, True]
