"""What is published has been loaded and tried first: no file of a bundle may break it unseen."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cli.failures import Failed
from services.cli.models.publish import tried
from shared.bundles.bundle import (
    FILES,
    FUSION,
    MANIFEST,
    RANKER,
    SESSION,
    TOWER,
    TOWER_ROWS,
    Bundle,
)
from tests.unit.shared.bundles.graphs import (
    change_manifest,
    listwise_ranker,
    put_file,
    ranker_model,
    session_model,
    tower_model,
    trained_bundle,
)

T = 8


@pytest.fixture(scope="module")
def whole(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with all that one may hold."""
    folder = tmp_path_factory.mktemp("whole")
    ranker = {RANKER: ranker_model([1.0, 2.0], ["session", "tower"])}
    trained_bundle(folder, bundle, t=T, rows={"seen": np.eye(T)[3]}, more=ranker)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def packed(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_bundle_with_all_that_one_may_hold_is_tried(folder: Path) -> None:
    assert set(tried(folder).files) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_or_something_else_is_refused_by_name(
    folder: Path, name: str
) -> None:
    for data in (b"", b"garbage", (folder / name).read_bytes()[:-100]):
        put_file(folder, name, data)
        with pytest.raises(Failed, match=rf"cannot be served: .*{name}"):
            tried(folder)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("image.onnx", tower_model(np.eye(4, 3)), "encodes nothing: the model of features fails"),
        ("text.onnx", session_model(T, 10), "encodes nothing: the model of embedding fails"),
        (FUSION, packed(weights=np.ones(4)), r"fusion\.npz lacks image_common, image_own"),
        (TOWER, tower_model(np.eye(96, 5)), r"tower\.onnx: it must give float32 \(n, 8\)"),
        (TOWER_ROWS, packed(keys=np.ones(1)), r"tower\.npz lacks vectors"),
        (SESSION, session_model(T, 12), r"session\.onnx: the model of query fails"),
        (RANKER, ranker_model([1.0], ["magic"]), r"ranker\.onnx: it wants features unknown here"),
        (RANKER, ranker_model([3.0, 2.0], ["session", "tower"]), "gives other ranker_parts here"),
        (RANKER, listwise_ranker(), "depends on which others stand beside it"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    folder: Path, name: str, data: bytes, words: str
) -> None:
    put_file(folder, name, data)
    with pytest.raises(Failed, match=words):
        tried(folder)


@pytest.mark.parametrize(
    "name", ["text_vectors", "picture_vectors", "tower_vectors", "session_queries", "ranker_parts"]
)
def test_golden_outputs_of_another_shape_are_refused_by_name(folder: Path, name: str) -> None:
    golden = json.loads((folder / MANIFEST).read_bytes())["golden"]
    change_manifest(folder, golden={**golden, name: [[1.0, 2.0, 3.0]]})
    with pytest.raises(Failed, match=f"golden {name} must be "):
        tried(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"tower": None},
        {"tower": {"dim": 9, "model": "x", "length": 10}},
        {"dim": 95},
        {"golden": ["none"]},
    ],
)
def test_a_manifest_that_does_not_fit_its_files_is_refused(
    folder: Path, changed: dict[str, Any]
) -> None:
    change_manifest(folder, **changed)
    with pytest.raises(Failed, match="cannot be served: "):
        tried(folder)
