from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from freshet.contract.users import User
from services.ranking import requests
from services.ranking.models.onnx_ranker import BadRanker, OnnxRanker, load
from services.ranking.recommend import recommend
from services.ranking.stages import degraded
from services.ranking.stages.features import NAMES
from tests.unit.ranking.shop import Shop
from tests.unit.ranking.test_recommend import a_deadline, ids

PICKED = ["freshness", "session"]


def model(
    weights: list[float] | list[list[float]] | np.ndarray,
    names: list[str] | None = None,
    inputs: int = 1,
    width: int | None = None,
    **metadata: str,
) -> bytes:
    """Return a linear model over some features: contributions (n, p) = x · weights (f, p)."""
    width = len(weights) if width is None else width
    table = np.array(weights, np.float32).reshape(len(weights), -1)
    matrix = numpy_helper.from_array(table, "w")
    given = [
        helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, ["n", width])
        for n in range(inputs)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", table.shape[1]])
    nodes = [helper.make_node("MatMul", ["x0", "w"], ["y"])]
    made = helper.make_model(
        helper.make_graph(nodes, "linear", given, [output], [matrix]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    if names is not None:
        metadata["features"] = json.dumps(names)
    helper.set_model_props(made, metadata)
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
    assert ranker.parts == ["ranker"]


def test_versions_tell_models_apart() -> None:
    one, other = (OnnxRanker(model([weight, 1.0], PICKED)).name for weight in (1.0, 2.0))
    assert one != other


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no model", "it cannot be loaded: it is not a serialized ONNX model"),
        (b"", "it cannot be loaded: "),
        (outside(model([1.0, 1.0], PICKED)), "it keeps tensors in other files"),
        (model([1.0, 1.0]), "its metadata must name its features"),
        (model([1.0, 1.0], []), "unknown here: none at all"),
        (model([1.0, 1.0], ["session", "magic"]), "it wants features unknown here: magic"),
        (model([1.0, 1.0], ["session"]), "it cannot score"),
        (model([1.0, 1.0], PICKED, inputs=2), "it must have one input"),
        (model([1.0, 1.0], ["session", "session"]), "name one of its features twice"),
        (model([1.0, 1.0], PICKED, parts="no list"), "must name its parts: a JSON list"),
        (model([1.0, 1.0], PICKED, parts='["a", "a"]'), "name one of its parts twice"),
        (model([1.0, 1.0], PICKED, parts='["a", "b"]'), "finite, 2 parts a row; were"),
        (model(np.ones((2, 3)), PICKED, parts='["a", "b"]'), "finite, 2 parts a row; were"),
        (model(np.ones((2, 2)), PICKED), "finite, one a row; were"),
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


def test_a_model_may_say_what_its_scores_are_the_sum_of() -> None:
    ranker = OnnxRanker(model([[10.0, 0.0], [0.1, 1.0]], PICKED, parts='["novelty", "taste"]'))
    table = np.zeros((2, len(NAMES)), np.float32)
    table[:, NAMES.index("freshness")] = [0.5, 0.25]
    table[:, NAMES.index("session")] = [0.0, 0.5]
    parts = ranker.score(table)
    assert ranker.parts == ["novelty", "taste"]
    assert parts[0].tolist() == [5.0, 0.0]
    assert parts[1].tolist() == [np.float32(round(2.55 * 2**15) / 2**15), 0.5], "on the grid"


def test_features_of_the_user_are_numbers_flags_and_values_by_name() -> None:
    names = ["user:age", "user:vip", "user:country=PL", "user:plan=2.5", "user:vip=true", "session"]
    ranker = OnnxRanker(model(np.eye(6), names, parts=json.dumps(names)))
    table = np.zeros((1, len(NAMES)), np.float32)
    table[0, NAMES.index("session")] = 0.5
    ann: dict[str, str | float | bool] = {"age": 30.0, "vip": True, "country": "PL", "plan": 2.5}
    assert ranker.score(table, ann).tolist() == [[30.0, 1.0, 1.0, 1.0, 1.0, 0.5]]
    bob: dict[str, str | float | bool] = {"age": "thirty", "vip": False, "country": "SE"}
    assert ranker.score(table, bob).tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0, 0.5]]
    assert ranker.score(table).tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0, 0.5]]


def test_a_model_whose_scores_depend_on_the_other_candidates_is_refused() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    made = helper.make_model(
        helper.make_graph(nodes, "listwise", [given], [output]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    helper.set_model_props(made, {"features": '["session"]'})
    with pytest.raises(BadRanker, match="depends on which others stand beside it"):
        OnnxRanker(made.SerializeToString())


async def test_a_list_is_ordered_by_the_ranker_and_by_the_blend_when_it_fails() -> None:
    shop = Shop(each=5)
    ranker = OnnxRanker(model([-1.0], ["price_log"]))  # the cheapest first
    space = dataclasses.replace(shop.space, ranker=ranker)
    query = requests.RecommendQuery(users=("nobody",), k=20, diversity=0.0)
    await space.trending.renew()
    made = await recommend(query, space, a_deadline())
    assert {item_id[-2:] for item_id in ids(shop, made)[:4]} == {"-0"}
    assert made.listed.part_names == ["ranker"]
    assert (made.listed.parts.sum(axis=1) == made.listed.scores).all()

    space = dataclasses.replace(shop.space, ranker=Failing())
    deadline = a_deadline()
    made = await recommend(query, space, deadline)
    assert ids(shop, made)[0] == "vase-4"
    assert deadline.degraded == [degraded.RANKER_FAILED]


async def test_what_the_shop_says_of_a_user_reaches_the_ranker() -> None:
    shop = Shop(each=5)
    shop.reader.said["ann"] = User(user_id="ann", country="PL", attributes={"age": 30.0})
    names = ["user:country=PL", "user:age"]
    ranker = OnnxRanker(model(np.eye(2), names, parts=json.dumps(["from Poland", "age"])))
    space = dataclasses.replace(shop.space, ranker=ranker)
    await space.trending.renew()
    told = []
    for user_id in ("ann", "bob"):
        query = requests.RecommendQuery(users=(user_id,), k=1, diversity=0.0)
        made = await recommend(query, space, a_deadline())
        told.append(made.listed.parts.tolist())
    assert told == [[[1.0, 30.0]], [[0.0, 0.0]]]


class Failing:
    """A Ranker whose scores are not finite."""

    name = "failing"
    parts = ("ranker",)

    def score(self, features: np.ndarray, attributes: object = None) -> np.ndarray:
        """See Ranker.score."""
        raise BadRanker("scores must be finite")
