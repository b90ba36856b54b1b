"""Snapshots are written whole or not at all, and only what is whole is used."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import hnswlib
import msgspec
import numpy as np
import pytest

from services.embedding.snapshots import build
from shared.catalogue import snapshots
from shared.catalogue.arrow import from_table, read_table
from shared.catalogue.snapshots import (
    CATALOGUE,
    INDEX,
    MANIFEST,
    TOWER_INDEX,
    BadSnapshot,
    find,
    newest,
)
from shared.catalogue.stores import open_store
from tests.unit.embedding.snapshots.snapshot_kit import (
    DAY_MS,
    DIM,
    NOW,
    SPACE,
    fill,
    manifest,
    rows,
    write,
)


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty store of each kind."""
    if request.param == "memory":
        yield "memory://snapshots"
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pseudo_dirs[:] = [""]
    else:
        yield str(tmp_path) if request.param == "folder" else f"file://{tmp_path}"


def test_written_snapshot_is_found_with_all_that_was_in_it(url: str) -> None:
    name = write(url)
    found = newest(url, SPACE, DIM, NOW)
    assert found is not None
    assert (found.name, found.manifest.count, found.manifest.offsets) == (name, 50, {0: 10, 1: 20})
    assert from_table(read_table(found.catalogue)).ids == rows().ids
    index = hnswlib.Index("ip", DIM)
    index.load_index(str(found.index))
    labels, _ = index.knn_query(rows().vectors[7].astype(np.float32), k=1)
    assert labels[0, 0] == 7


def test_nothing_written_is_nothing_found(url: str) -> None:
    assert find(url, SPACE, DIM, NOW) == snapshots.NewestSnapshot(None, ())


def test_two_are_kept(url: str) -> None:
    names = [write(url, NOW + number) for number in range(4)]
    store = open_store(url, SPACE)
    assert snapshots.current(store) == [names[3], names[2]]
    assert sorted(store.folders()) == names[2:]


def test_local_copy_of_a_remote_snapshot_goes_with_it() -> None:
    write("memory://gone")
    found = newest("memory://gone", SPACE, DIM, NOW)
    assert found is not None
    folder = found.folder
    assert folder.is_dir()
    del found
    assert not folder.exists()
    fsspec.filesystem("memory").store.clear()


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def set_manifest(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def remark(folder: Path) -> None:
    """Let the manifest say what lies there now: only the header's check is left."""
    marks = {name: snapshots._mark(folder / name) for name in (INDEX, CATALOGUE)}
    set_manifest(folder, files=msgspec.to_builtins(marks))


def as_another_dimension(folder: Path) -> None:
    index = hnswlib.Index("ip", DIM * 2)
    index.init_index(50, M=16, ef_construction=120)
    index.add_items(np.ones((50, DIM * 2), np.float32))
    index.save_index(str(folder / INDEX))
    remark(folder)


def with_header(word: int, value: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        raw = bytearray((folder / INDEX).read_bytes())
        struct.pack_into("<Q", raw, word * 8, value)
        (folder / INDEX).write_bytes(raw)
        remark(folder)

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped byte of the index": (lambda f: flip(f / INDEX, 200), "another sha256"),
    "flipped byte of the catalogue": (lambda f: flip(f / CATALOGUE, 99), "another sha256"),
    "truncated index": (lambda f: os.truncate(f / INDEX, 100), "has 100 bytes"),
    "empty catalogue": (lambda f: os.truncate(f / CATALOGUE, 0), "has 0 bytes"),
    "index gone": (lambda f: (f / INDEX).unlink(), "No such file"),
    "manifest gone": (lambda f: (f / MANIFEST).unlink(), "No such file"),
    "manifest empty": (lambda f: os.truncate(f / MANIFEST, 0), "manifest.json:"),
    "manifest no JSON": (lambda f: flip(f / MANIFEST, 0), "manifest.json:"),
    "wrong space": (lambda f: set_manifest(f, space="other"), "must be of space 'test'"),
    "wrong dimension": (lambda f: set_manifest(f, dim=16), "with 16"),
    "wrong format": (lambda f: set_manifest(f, format=2), "format"),
    "count that the file has not": (lambda f: set_manifest(f, count=49), "no index of 49"),
    "other M": (lambda f: set_manifest(f, m=8), "M 8"),
    "count out of bounds": (lambda f: set_manifest(f, count=0), "count"),
    "size out of bounds": (
        lambda f: set_manifest(f, files={INDEX: {"bytes": -1, "sha256": "0" * 64}}),
        "bytes",
    ),
    "path outside": (
        lambda f: set_manifest(f, files={"../x": {"bytes": 1, "sha256": "0" * 64}}),
        "must list",
    ),
    "another dimension, manifest forged": (as_another_dimension, "no index of 50"),
    "more room than items, forged": (with_header(1, 2**60), "no index of 50"),
    "links outside an element, forged": (with_header(4, 2**40), "no index of 50"),
    "data outside an element, forged": (with_header(5, 2**40), "no index of 50"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_snapshot_is_refused_and_the_one_before_used(damage: str, tmp_path: Path) -> None:
    before, name = write(str(tmp_path), NOW), write(str(tmp_path), NOW + 1)
    how, reason = DAMAGES[damage]
    how(tmp_path / SPACE / name)
    found = find(str(tmp_path), SPACE, DIM, NOW)
    assert found.snapshot is not None
    assert found.snapshot.name == before
    ((refused, why),) = found.refused
    assert refused == name
    assert reason in why


def test_only_damaged_snapshots_are_no_snapshot(tmp_path: Path) -> None:
    for created_ms in (NOW, NOW + 1):
        flip(tmp_path / SPACE / write(str(tmp_path), created_ms) / INDEX, 300)
    found = find(str(tmp_path), SPACE, DIM, NOW)
    assert found.snapshot is None
    assert len(found.refused) == 2


@pytest.mark.parametrize("text", ["", "../../etc\n", "x" * 5000, "1\n2\n3\n", "\xff"])
def test_damaged_current_is_no_snapshot_and_the_next_write_mends_it(
    text: str, tmp_path: Path
) -> None:
    write(str(tmp_path))
    (tmp_path / SPACE / "CURRENT").write_text(text, "latin-1")
    found = find(str(tmp_path), SPACE, DIM, NOW)
    assert found.snapshot is None
    assert found.refused[0][0] == "CURRENT"
    if len(text) < 1024:
        name = write(str(tmp_path), NOW + 1)
        assert snapshots.current(open_store(str(tmp_path), SPACE)) == [name]


def test_snapshot_that_could_miss_deletes_is_refused(url: str) -> None:
    write(url, NOW - 6 * DAY_MS)
    assert newest(url, SPACE, DIM, NOW) is not None
    found = find(url, SPACE, DIM, NOW + 1)
    assert found.snapshot is None
    assert "could miss deletes" in found.refused[0][1]


def test_snapshot_from_the_future_is_refused(url: str) -> None:
    write(url, NOW + 2 * DAY_MS)
    assert "ahead of this clock" in find(url, SPACE, DIM, NOW).refused[0][1]


def test_spaces_do_not_meet(url: str) -> None:
    write(url)
    assert newest(url, "other", DIM, NOW) is None
    assert newest(url, SPACE, DIM + 1, NOW) is None


def test_unknown_kind_of_store_is_a_reason_not_an_error() -> None:
    found = find("nowhere://x", SPACE, DIM, NOW)
    assert found.snapshot is None
    assert "nowhere" in found.refused[0][1]


def boom(folder: Path) -> None:
    raise OSError(28, "No space left on device")


def half(folder: Path) -> None:
    fill(folder)
    os.truncate(folder / INDEX, (folder / INDEX).stat().st_size // 2)


@pytest.mark.parametrize("bad_fill", [boom, half])
def test_failure_while_saving_keeps_the_one_before(
    bad_fill: Callable[[Path], None], url: str
) -> None:
    before = write(url)
    with pytest.raises((OSError, BadSnapshot)):
        snapshots.write(url, manifest(created_ms=NOW + 1), bad_fill, build.check)
    found = newest(url, SPACE, DIM, NOW)
    assert found is not None
    assert found.name == before
    assert open_store(url, SPACE).folders() == [before]


def test_failed_check_keeps_the_one_before(url: str) -> None:
    before = write(url)

    def refuse(folder: Path) -> None:
        raise BadSnapshot("crashed")

    with pytest.raises(BadSnapshot, match="crashed"):
        snapshots.write(url, manifest(created_ms=NOW + 1), fill, refuse)
    assert snapshots.current(open_store(url, SPACE)) == [before]


def test_older_state_does_not_replace_a_newer_one(url: str) -> None:
    name = write(url, NOW)
    with pytest.raises(BadSnapshot, match="a newer snapshot"):
        write(url, NOW - 1)
    assert snapshots.current(open_store(url, SPACE)) == [name]


def test_what_a_killed_writer_left_is_removed_later(tmp_path: Path) -> None:
    left = tmp_path / SPACE / f"{NOW:013d}-0badf00d"
    left.mkdir(parents=True)
    strange = tmp_path / SPACE / "notes"
    strange.mkdir()
    write(str(tmp_path), NOW + 1)
    assert left.is_dir()  # somebody may still be writing it
    write(str(tmp_path), NOW + snapshots.LEFT_OVER_MS + 1)
    assert not left.exists()
    assert strange.is_dir()


def test_peek_tells_age_without_reading_the_data(url: str) -> None:
    assert snapshots.peek(url, SPACE) is None
    write(url)
    seen = snapshots.peek(url, SPACE)
    assert seen is not None
    assert seen.created_ms == NOW


def test_check_refuses_an_index_of_other_vectors(tmp_path: Path) -> None:
    def swap(folder: Path) -> None:
        fill(folder)
        other = rows(seed=9)
        build.save_index(other.vectors, manifest(), 1, folder / INDEX)

    with pytest.raises(BadSnapshot, match="other vectors"):
        snapshots.write(str(tmp_path), manifest(), swap, build.check)


def test_equal_items_give_an_equal_index(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build.save_index(rows().vectors, manifest(), 1, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tower_vectors_have_a_graph_of_their_own_which_is_verified_like_the_other(
    tmp_path: Path,
) -> None:
    name = write(str(tmp_path), towers=True)
    snapshot = newest(str(tmp_path), SPACE, DIM, NOW)
    assert snapshot is not None
    assert snapshot.manifest.indexes == {INDEX: DIM, TOWER_INDEX: DIM // 2}
    assert snapshot.tower_index.is_file()
    flip(tmp_path / SPACE / name / TOWER_INDEX, 200)
    assert newest(str(tmp_path), SPACE, DIM, NOW) is None


def test_check_refuses_a_graph_of_other_tower_vectors(tmp_path: Path) -> None:
    def swap(folder: Path) -> None:
        fill(folder, towers=True)
        other = rows(seed=9, towers=True).tower_vectors
        assert other is not None
        build.save_index(other, manifest(), 1, folder / TOWER_INDEX)

    with pytest.raises(BadSnapshot, match="the index of towers holds other vectors"):
        snapshots.write(str(tmp_path), manifest(tower_dim=DIM // 2), swap, build.check)
