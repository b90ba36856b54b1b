from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from shared.bundles.bundle import RANKER, BadBundle, Bundle
from shared.bundles.ranker import GOLDEN_ROWS, BadRanker, RankerModel, ranker_of
from tests.unit.shared.bundles.graphs import (
    listwise_ranker,
    put_file,
    ranker_model,
    trained_bundle,
)

PICKED = ["freshness", "session"]


def outside(data: bytes) -> bytes:
    """Return the model with its weights said to be in another file."""
    made = onnx.ModelProto.FromString(data)
    weights = made.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../weights")
    return made.SerializeToString()


def test_versions_tell_models_apart() -> None:
    one, other = (RankerModel(ranker_model([weight, 1.0], PICKED)).name for weight in (1.0, 2.0))
    assert one != other


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no model", "it cannot be loaded: it is not a serialized ONNX model"),
        (b"", "it cannot be loaded: "),
        (outside(ranker_model([1.0, 1.0], PICKED)), "it keeps tensors in other files"),
        (ranker_model([1.0, 1.0]), "its metadata must name its features"),
        (ranker_model([1.0, 1.0], []), "unknown here: none at all"),
        (ranker_model([1.0, 1.0], ["session", "magic"]), "it wants features unknown here: magic"),
        (ranker_model([1.0, 1.0], ["session"]), "it cannot score"),
        (ranker_model([1.0, 1.0], PICKED, inputs=2), "it must have one input"),
        (ranker_model([1.0, 1.0], ["session", "session"]), "name one of its features twice"),
        (ranker_model([1.0, 1.0], PICKED, parts="no list"), "must name its parts: a JSON list"),
        (ranker_model([1.0, 1.0], PICKED, parts='["a", "a"]'), "name one of its parts twice"),
        (ranker_model([1.0, 1.0], PICKED, parts='["a", "b"]'), "finite, 2 parts a row; were"),
        (ranker_model(np.ones((2, 3)), PICKED, parts='["a", "b"]'), "finite, 2 parts a row; were"),
        (ranker_model(np.ones((2, 2)), PICKED), "finite, one a row; were"),
        (ranker_model([np.nan, 1.0], PICKED), "finite, one a row; were"),
        (listwise_ranker(), "a candidate's score depends on which others stand beside it"),
    ],
)
def test_what_is_no_ranker_for_these_features_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadRanker, match=words):
        RankerModel(data)


@pytest.fixture
def trained(bundle: Bundle, tmp_path: Path) -> Bundle:
    more = {RANKER: ranker_model([[10.0, 0.0], [0.1, 1.0]], PICKED, parts='["new", "like"]')}
    return trained_bundle(tmp_path, bundle, more=more)


def test_a_bundle_keeps_what_its_ranker_gives_and_is_compared_with_it(
    trained: Bundle, bundle: Bundle
) -> None:
    ranker = ranker_of(trained)
    assert ranker is not None
    assert trained.golden_rows("ranker_parts", 2, GOLDEN_ROWS) == pytest.approx(
        ranker.golden(), abs=1e-5
    )
    assert len(np.unique(ranker.golden())) > GOLDEN_ROWS, "rows that tell models apart"
    assert ranker_of(bundle) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [[new, like + 0.6] for new, like in rows], "one differs by 0.6, at most"),
        (lambda rows: rows[::-1], "gives other ranker_parts here than where it was built"),
        (lambda rows: [[float("nan"), like] for _, like in rows], "gives other ranker_parts"),
        (lambda rows: [row[:1] for row in rows], r"must be \(6, 2\), were \(6, 1\)"),
        (lambda rows: rows[:3], r"must be \(6, 2\), were \(3, 2\)"),
        (lambda rows: "none", r"must be \(6, 2\), were \(0,\)"),
    ],
)
def test_a_ranker_that_gives_something_else_here_is_refused(
    trained: Bundle, change: Any, words: str
) -> None:
    golden = {**trained.golden, "ranker_parts": change(trained.golden["ranker_parts"])}
    with pytest.raises(BadBundle, match=words):
        ranker_of(dataclasses.replace(trained, golden=golden))


def test_a_bundle_without_golden_outputs_of_its_ranker_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    trained_bundle(tmp_path, bundle)
    put_file(tmp_path, RANKER, ranker_model([1.0, 1.0], PICKED))
    with pytest.raises(BadBundle, match=r"golden ranker_parts must be \(6, 1\), were \(0,\)"):
        ranker_of(Bundle.load(tmp_path))


def test_a_ranker_that_cannot_score_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match=r"ranker\.onnx: it wants features unknown here: magic"):
        trained_bundle(tmp_path, bundle, more={RANKER: ranker_model([1.0], ["magic"])})
