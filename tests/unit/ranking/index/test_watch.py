"""The index takes over snapshots that are written while it serves."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np

from services.ranking.index.served import ServedIndex
from services.ranking.index.watch import SnapshotWatch, begin, load_base
from shared.catalogue import snapshots
from shared.catalogue.catalogue import Catalogue
from tests.servers import eventually
from tests.unit.ranking.index.snapshots import write_snapshot
from tests.unit.ranking.index.vectors import DIM, brute_force, catalogue_with, clustered, puts
from tests.unit.shared.catalogue.makers import SPACE, delete, put

VECTORS = clustered(3_000)


def newest(url: Path) -> snapshots.Snapshot:
    found = snapshots.newest(str(url), SPACE, DIM, time.time_ns() // 1_000_000)
    assert found is not None
    return found


def answers(served: ServedIndex) -> list[list[int]]:
    found: list[list[int]] = served.nearest(VECTORS[:20].astype(np.float32), 5)[0].tolist()
    return found


def test_index_begins_with_the_snapshot_that_the_catalogue_began_with(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS))
    name = write_snapshot(tmp_path, catalogue, {})
    served = begin(catalogue, newest(tmp_path))
    assert served.name == name
    assert served.sizes() == {"base": 3_000, "fresh": 0}
    wanted = [brute_force(catalogue, vector, 5) for vector in VECTORS[:20]]
    assert sum(found == plain for found, plain in zip(answers(served), wanted, strict=True)) >= 19


def test_index_that_cannot_be_loaded_costs_speed_only(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS))
    write_snapshot(tmp_path, catalogue, {})
    snapshot = newest(tmp_path)
    snapshot.index.write_bytes(snapshot.index.read_bytes()[:1_000])  # after it was verified
    served = begin(catalogue, snapshot)
    assert served.name == ""
    assert answers(served) == [brute_force(catalogue, vector, 5) for vector in VECTORS[:20]]


async def test_new_snapshots_are_adopted_once_each(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS[:2_000]))
    served = ServedIndex(catalogue)
    watch = SnapshotWatch(served, catalogue, str(tmp_path))
    await watch.look()
    assert served.name == ""
    first = write_snapshot(tmp_path, catalogue, {})
    await watch.look()
    assert (served.name, served.sizes()) == (first, {"base": 2_000, "fresh": 0})
    catalogue.apply([*puts(VECTORS[2_000:], first=2_000), delete("item-3", 2)])
    await asyncio.sleep(0.002)  # a snapshot's name begins with its millisecond
    second = write_snapshot(tmp_path, catalogue, {})
    await watch.look()
    await watch.look()
    assert (served.name, served.sizes()) == (second, {"base": 2_999, "fresh": 0})
    assert (watch.adopted, watch.refused) == (2, 0)


async def test_damaged_snapshot_is_not_adopted_and_is_tried_again_later(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS))
    served, now_s = ServedIndex(catalogue), 0.0
    watch = SnapshotWatch(served, catalogue, str(tmp_path), retry_s=60, clock=lambda: now_s)
    name = write_snapshot(tmp_path, catalogue, {})
    index = tmp_path / SPACE / name / snapshots.INDEX
    whole = index.read_bytes()
    index.write_bytes(whole[:-1] + b"\x00\x01")
    await watch.look()
    await watch.look()
    assert (served.name, watch.refused) == ("", 1)
    assert answers(served)[0][0] == 0
    index.write_bytes(whole)
    now_s = 61.0
    await watch.look()
    assert (served.name, watch.adopted) == (name, 1)


async def test_watch_outlives_a_current_file_that_is_no_such_thing(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS))
    served = ServedIndex(catalogue)
    (tmp_path / SPACE).mkdir()
    (tmp_path / SPACE / snapshots.CURRENT).write_text("../../etc/passwd\n")
    watch = SnapshotWatch(served, catalogue, str(tmp_path), look_s=0.01)
    looking = asyncio.create_task(watch.run())
    await asyncio.sleep(0.1)
    name = write_snapshot(tmp_path, catalogue, {})
    await eventually(lambda: served.name == name, within_s=5)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


def test_base_knows_the_items_by_their_labels(tmp_path: Path) -> None:
    catalogue = catalogue_with([*puts(VECTORS[:100]), delete("item-0", 2)])
    write_snapshot(tmp_path, catalogue, {})
    loaded = load_base(newest(tmp_path))
    other = Catalogue(SPACE, DIM)
    other.apply([put("stranger", 1, VECTORS[200]), *reversed(puts(VECTORS[:100]))])
    served = ServedIndex(other, loaded)
    assert served.sizes() == {"base": 99, "fresh": 2}
    rows, _ = served.nearest(VECTORS[1:100].astype(np.float32), 1)
    assert rows[:, 0].tolist() == [other.row(f"item-{n}") for n in range(1, 100)]


TOWERS = clustered(600, seed=5)[:, :12]
TOWERS = (TOWERS / np.linalg.norm(TOWERS.astype(np.float32), axis=1, keepdims=True)).astype(
    np.float16
)


def towered(count: int) -> Catalogue:
    """Return a catalogue of items of which all but every tenth have a tower vector."""
    catalogue = Catalogue(SPACE, DIM)
    nothing = np.empty(0, np.float16)
    catalogue.apply(
        put(f"item-{n}", 1, VECTORS[n], tower=TOWERS[n] if n % 10 else nothing)
        for n in range(count)
    )
    return catalogue


def nearest_tower(served: ServedIndex, query: np.ndarray, k: int) -> list[int]:
    rows, _ = served.nearest(query[None].astype(np.float32), k)
    return [int(row) for row in rows[0]]


async def test_towers_are_searched_exactly_and_by_a_graph_of_their_own_alike(
    tmp_path: Path,
) -> None:
    catalogue = towered(600)
    content, towers = begin(catalogue, None), begin(catalogue, None, 12)
    assert [nearest_tower(towers, TOWERS[n], 1)[0] for n in range(1, 10)] == [*range(1, 10)]
    assert 10 not in nearest_tower(towers, TOWERS[10], 3), "it has no tower vector"
    watch = SnapshotWatch(content, catalogue, str(tmp_path), towers=towers)
    name = write_snapshot(tmp_path, catalogue, {})
    await watch.look()
    assert (content.name, towers.name) == (name, name)
    assert towers.sizes() == content.sizes() == {"base": 600, "fresh": 0}
    assert [nearest_tower(towers, TOWERS[n], 1)[0] for n in range(1, 10)] == [*range(1, 10)]
    assert begin(catalogue, newest(tmp_path), 12).name == name


async def test_a_snapshot_without_towers_leaves_them_in_the_fresh_segment(tmp_path: Path) -> None:
    catalogue = catalogue_with(puts(VECTORS[:200]))
    content, towers = begin(catalogue, None), begin(catalogue, None, 12)
    name = write_snapshot(tmp_path, catalogue, {})
    await SnapshotWatch(content, catalogue, str(tmp_path), towers=towers).look()
    assert (content.name, towers.name) == (name, "")
    _, scores = towers.nearest(TOWERS[:1].astype(np.float32), 5)
    assert not scores.any(), "what has no tower vector is near nothing"
    assert begin(catalogue, newest(tmp_path), 12).name == ""


def test_an_item_whose_tower_vector_changes_is_found_at_its_new_place_alone() -> None:
    catalogue = towered(100)
    towers = begin(catalogue, None, 12)
    catalogue.apply([put("item-7", 2, VECTORS[7], tower=TOWERS[500])])
    moved = catalogue.row("item-7")
    assert nearest_tower(towers, TOWERS[500], 1) == [moved]
    assert 7 not in nearest_tower(towers, TOWERS[7], 100)
