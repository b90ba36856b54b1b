from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.ranking import requests
from services.ranking.onnx_ranker import BadRanker, OnnxRanker, load, load_from_bundle
from services.ranking.recommend import recommend
from services.ranking.stages import degraded
from services.ranking.stages.features import NAMES
from tests.unit.ranking.shop import Shop
from tests.unit.ranking.test_recommend import a_deadline, ids

PICKED = ["freshness", "session"]


def model(
    weights: list[float], names: list[str] | None = None, inputs: int = 1, width: int | None = None
) -> bytes:
    """Return a linear model over some features: scores (n, 1) = x · weights."""
    width = len(weights) if width is None else width
    matrix = numpy_helper.from_array(np.array(weights, np.float32)[:, None], "w")
    given = [
        helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, ["n", width])
        for n in range(inputs)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])
    nodes = [helper.make_node("MatMul", ["x0", "w"], ["y"])]
    made = helper.make_model(
        helper.make_graph(nodes, "linear", given, [output], [matrix]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    if names is not None:
        helper.set_model_props(made, {"features": json.dumps(names)})
    onnx.checker.check_model(made)
    return made.SerializeToString()


def outside(data: bytes) -> bytes:
    """Return the model with its weights said to be in another file."""
    made = onnx.ModelProto.FromString(data)
    weights = made.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../weights")
    return made.SerializeToString()


def test_a_model_sees_the_features_that_it_names_in_its_order() -> None:
    ranker = OnnxRanker(model([10.0, 1.0], PICKED))
    table = np.zeros((3, len(NAMES)), np.float32)
    table[:, NAMES.index("freshness")] = [0.5, 0.0, 0.25]
    table[:, NAMES.index("session")] = [0.0, 0.5, 0.25]
    assert ranker.score(table).tolist() == [[5.0], [0.5], [2.75]]
    assert ranker.parts == ("ranker",)


def test_versions_tell_models_apart() -> None:
    one, other = (OnnxRanker(model([weight, 1.0], PICKED)).name for weight in (1.0, 2.0))
    assert one != other


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no model", "it is not a serialized ONNX model"),
        (b"", "ONNX Runtime refuses it"),
        (outside(model([1.0, 1.0], PICKED)), "it keeps tensors in other files"),
        (model([1.0, 1.0]), "its metadata must name its features"),
        (model([1.0, 1.0], []), "unknown here: none at all"),
        (model([1.0, 1.0], ["session", "magic"]), "it wants features unknown here: magic"),
        (model([1.0, 1.0], ["session"]), "it cannot score 2 rows"),
        (model([1.0, 1.0], PICKED, inputs=2), "it must have one input"),
    ],
)
def test_what_is_no_ranker_for_these_features_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadRanker, match=words):
        OnnxRanker(data)


def test_scores_that_are_not_finite_are_refused() -> None:
    ranker = OnnxRanker(model([1.0, 1.0], PICKED))
    with pytest.raises(BadRanker, match="must be finite"):
        ranker.score(np.full((2, len(NAMES)), np.nan, np.float32))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRanker, match="ranker.onnx: No such file"):
        load(tmp_path / "ranker.onnx")


def test_a_bundle_without_a_ranker_has_none(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    assert load_from_bundle(tmp_path) is None


def test_a_bundles_ranker_must_be_the_file_that_its_manifest_names(tmp_path: Path) -> None:
    data = model([1.0, 1.0], PICKED)
    (tmp_path / "ranker.onnx").write_bytes(data)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"ranker.onnx": entry}}))
    found = load_from_bundle(tmp_path)
    assert found is not None
    assert found.name.startswith("onnx-")
    (tmp_path / "ranker.onnx").write_bytes(data + b"\0")
    with pytest.raises(BadRanker, match="not the file that the manifest names"):
        load_from_bundle(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"ranker.onnx": 1}}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadRanker, match="no manifest"):
        load_from_bundle(tmp_path)


async def test_a_list_is_ordered_by_the_ranker_and_by_the_blend_when_it_fails() -> None:
    shop = Shop(each=5)
    ranker = OnnxRanker(model([-1.0], ["price_log"]))  # the cheapest first
    space = dataclasses.replace(shop.space, ranker=ranker)
    query = requests.RecommendQuery(users=("nobody",), k=20, diversity=0.0)
    await space.trending.renew()
    made = await recommend(query, space, a_deadline())
    assert {item_id[-2:] for item_id in ids(shop, made)[:4]} == {"-0"}
    assert made.listed.part_names == ("ranker",)
    assert (made.listed.parts.sum(axis=1) == made.listed.scores).all()

    space = dataclasses.replace(shop.space, ranker=Failing())
    deadline = a_deadline()
    made = await recommend(query, space, deadline)
    assert ids(shop, made)[0] == "vase-4"
    assert deadline.degraded == [degraded.RANKER_FAILED]


class Failing:
    """A Ranker whose scores are not finite."""

    name = "failing"
    parts = ("ranker",)

    def score(self, features: np.ndarray) -> np.ndarray:
        """See Ranker.score."""
        raise BadRanker("scores must be finite")
