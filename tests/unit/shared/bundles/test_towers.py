from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from shared.bundles.bundle import MANIFEST, SESSION, TOWER, TOWER_ROWS, BadBundle, Bundle, describe
from shared.bundles.towers import (
    OnnxItemTower,
    OnnxSessionTower,
    item_tower_of,
    session_tower_of,
)
from shared.faults import SystemFault
from shared.users.keys import item_key
from tests.unit.shared.bundles.graphs import (
    constant,
    learnt_rows,
    serialized,
    session_model,
    session_query,
    tensor,
    tower_model,
    trained_bundle,
)

T = 8
RANDOM = np.random.default_rng(1)


def units(n: int, width: int = T) -> np.ndarray:
    rows = RANDOM.standard_normal((n, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    trained_bundle(folder, bundle, rows={"seen": np.eye(T)[3], "seen too": np.eye(T)[5]})
    return folder


@pytest.fixture
def trained(folder: Path) -> Bundle:
    return Bundle.load(folder)


def keys_of(*item_ids: str) -> np.ndarray:
    return np.array([item_key(item_id) for item_id in item_ids], np.uint64)


def with_file(trained: Bundle, name: str, data: bytes | None) -> Bundle:
    files = {other: kept for other, kept in trained.files.items() if other != name}
    return dataclasses.replace(trained, files=files if data is None else files | {name: data})


def test_a_bundle_of_format_2_says_what_its_towers_are(trained: Bundle) -> None:
    assert trained.tower is not None
    assert (trained.dim, trained.tower.dim, trained.tower.length) == (96, T, 10)
    assert trained.evaluation["data"] == "none"
    assert {TOWER, TOWER_ROWS, SESSION} < set(trained.files)


def test_only_the_files_that_are_asked_for_are_read(folder: Path) -> None:
    assert set(Bundle.load(folder, (SESSION, "ranker.onnx")).files) == {SESSION}


def test_an_item_that_training_knew_has_its_learnt_row_and_others_what_the_model_says(
    trained: Bundle,
) -> None:
    contents = units(3, trained.dim)
    tower = OnnxItemTower(trained)
    given = tower.vectors(keys_of("seen too", "new", "seen"), contents)
    assert given[0].tolist() == np.eye(T)[5].tolist()
    assert given[2].tolist() == np.eye(T)[3].tolist()
    assert given[1] == pytest.approx(tower.of_content(contents[1:2])[0])
    assert np.linalg.norm(given, axis=1) == pytest.approx(np.ones(3), abs=1e-3)


def test_without_a_model_a_new_item_has_no_tower_vector(trained: Bundle) -> None:
    tower = OnnxItemTower(with_file(trained, TOWER, None))
    given = tower.vectors(keys_of("new", "seen"), units(2, trained.dim))
    assert not given[0].any()
    assert given[1].tolist() == np.eye(T)[3].tolist()


def test_a_history_gives_the_query_of_its_last_items_in_their_order(trained: Bundle) -> None:
    tower, history = OnnxSessionTower(trained), units(25)
    assert tower.query(history) == pytest.approx(session_query(history, 10), abs=1e-5)
    assert tower.query(history[:3]) == pytest.approx(session_query(history[:3], 10), abs=1e-5)
    assert tower.query(history[::-1]) != pytest.approx(tower.query(history), abs=1e-2)


def test_both_towers_give_here_what_they_gave_where_they_were_built(trained: Bundle) -> None:
    assert item_tower_of(trained) is not None
    assert session_tower_of(trained) is not None


def test_a_bundle_of_encoders_alone_has_no_towers(bundle: Bundle) -> None:
    assert item_tower_of(bundle) is None
    assert session_tower_of(bundle) is None


def other_than(trained: Bundle, name: str) -> Bundle:
    rows = [row[::-1] for row in trained.golden[name]]
    return dataclasses.replace(trained, golden={**trained.golden, name: rows})


def test_towers_that_give_something_else_are_refused(trained: Bundle) -> None:
    with pytest.raises(BadBundle, match="gives other tower_vectors here"):
        item_tower_of(other_than(trained, "tower_vectors"))
    with pytest.raises(BadBundle, match="gives other session_queries here"):
        session_tower_of(other_than(trained, "session_queries"))


def test_golden_outputs_that_are_not_there_are_asked_for(trained: Bundle) -> None:
    golden = {k: v for k, v in trained.golden.items() if k != "session_queries"}
    changed = dataclasses.replace(trained, golden=golden)
    with pytest.raises(BadBundle, match=r"golden session_queries must be \(6, 8\), were \(0,\)"):
        session_tower_of(changed)


@pytest.mark.parametrize(
    ("keys", "rows", "words"),
    [
        ([2, 1], np.eye(T)[:2], "keys must ascend"),
        ([1, 1], np.eye(T)[:2], "keys must ascend"),
        ([1], np.eye(T)[:1] * 2, "unit length"),
        ([1], np.full((1, T), np.nan), "unit length"),
        ([1], np.eye(4)[:1], r"vectors float16 \(m, 8\)"),
    ],
)
def test_learnt_rows_that_do_not_fit_are_refused(
    trained: Bundle, tmp_path: Path, keys: list[int], rows: np.ndarray, words: str
) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, keys=np.array(keys, np.uint64), vectors=rows.astype(np.float16))
    with pytest.raises(BadBundle, match=words):
        OnnxItemTower(with_file(trained, TOWER_ROWS, path.read_bytes()))


@pytest.mark.parametrize("data", [b"", b"PK", learnt_rows({"a": np.eye(T)[0]})[:60]])
def test_learnt_rows_that_are_no_archive_are_refused(trained: Bundle, data: bytes) -> None:
    with pytest.raises(BadBundle, match=r"tower\.npz cannot be read"):
        OnnxItemTower(with_file(trained, TOWER_ROWS, data))


def test_models_of_another_shape_are_refused(trained: Bundle) -> None:
    other = with_file(trained, TOWER, tower_model(RANDOM.standard_normal((trained.dim, 5))))
    with pytest.raises(BadBundle, match=r"tower\.onnx: it must give float32 \(n, 8\)"):
        item_tower_of(other)
    other = with_file(trained, TOWER, tower_model(RANDOM.standard_normal((7, T))))
    with pytest.raises(BadBundle, match=r"tower\.onnx: the model of tower fails"):
        item_tower_of(other)
    other = with_file(trained, SESSION, session_model(T, 12))  # the manifest says 10
    with pytest.raises(BadBundle, match=r"session\.onnx: the model of query fails"):
        session_tower_of(other)


def test_vectors_that_are_not_of_unit_length_are_a_fault(trained: Bundle) -> None:
    doubled = helper.make_graph(
        [helper.make_node("MatMul", ["content", "w"], ["tower"])],
        "doubled",
        [tensor("content", "n", trained.dim)],
        [tensor("tower", "n", T)],
        [constant("w", np.full((trained.dim, T), 2.0))],
    )
    tower = OnnxItemTower(with_file(trained, TOWER, serialized(doubled)))
    with pytest.raises(SystemFault, match="unit length"):
        tower.of_content(np.ones((1, trained.dim), np.float32))


def test_towers_and_what_a_manifest_says_of_them_come_together(trained: Bundle) -> None:
    without = with_file(with_file(trained, TOWER, None), TOWER_ROWS, None)
    with pytest.raises(BadBundle, match=r"has a tower, but no tower\.onnx or tower\.npz"):
        OnnxItemTower(without)
    with pytest.raises(BadBundle, match=r"has no session\.onnx"):
        OnnxSessionTower(with_file(trained, SESSION, None))
    with pytest.raises(BadBundle, match="says nothing of a tower"):
        session_tower_of(dataclasses.replace(trained, tower=None))
    with pytest.raises(BadBundle, match="says nothing of a tower"):
        item_tower_of(dataclasses.replace(trained, tower=None))


@pytest.mark.parametrize(
    "tower",
    [{"dim": 0, "model": "x"}, {"dim": 8}, {"dim": 8, "model": "x", "length": 500}, 8],
)
def test_a_manifest_whose_tower_cannot_be_is_refused(
    folder: Path, tmp_path: Path, tower: Any
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest |= {"tower": tower, "files": {name: describe(b"") for name in manifest["files"]}}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadBundle, match=r"manifest\.json"):
        Bundle.load(tmp_path, ())
