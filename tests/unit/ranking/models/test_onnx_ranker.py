from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freshet.contract.users import User
from services.ranking import requests
from services.ranking.models.onnx_ranker import OnnxRanker, load
from services.ranking.recommend import recommend
from services.ranking.stages import degraded
from shared.bundles.candidates import NAMES
from shared.bundles.ranker import BadRanker, RankerModel
from tests.unit.ranking.shop import Shop
from tests.unit.ranking.test_recommend import a_deadline, ids
from tests.unit.shared.bundles.graphs import ranker_model

PICKED = ["freshness", "session"]


def ranker_of(*arguments: Any, **metadata: Any) -> OnnxRanker:
    return OnnxRanker(RankerModel(ranker_model(*arguments, **metadata)))


def test_a_model_sees_the_features_that_it_names_in_its_order() -> None:
    ranker = ranker_of([10.0, 1.0], PICKED)
    table = np.zeros((3, len(NAMES)), np.float32)
    table[:, NAMES.index("freshness")] = [0.5, 0.0, 0.25]
    table[:, NAMES.index("session")] = [0.0, 0.5, 0.25]
    assert ranker.score(table).tolist() == [[5.0], [0.5], [2.75]]
    assert ranker.parts == ["ranker"]


def test_scores_that_are_not_finite_are_refused() -> None:
    ranker = ranker_of([1.0, 1.0], PICKED)
    with pytest.raises(BadRanker, match="must be finite"):
        ranker.score(np.full((2, len(NAMES)), np.nan, np.float32))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRanker, match="ranker.onnx: No such file"):
        load(tmp_path / "ranker.onnx")


def test_a_model_may_say_what_its_scores_are_the_sum_of() -> None:
    ranker = ranker_of([[10.0, 0.0], [0.1, 1.0]], PICKED, parts='["novelty", "taste"]')
    table = np.zeros((2, len(NAMES)), np.float32)
    table[:, NAMES.index("freshness")] = [0.5, 0.25]
    table[:, NAMES.index("session")] = [0.0, 0.5]
    parts = ranker.score(table)
    assert ranker.parts == ["novelty", "taste"]
    assert parts[0].tolist() == [5.0, 0.0]
    assert parts[1].tolist() == [np.float32(round(2.55 * 2**15) / 2**15), 0.5], "on the grid"


def test_features_of_the_user_are_numbers_flags_and_values_by_name() -> None:
    names = ["user:age", "user:vip", "user:country=PL", "user:plan=2.5", "user:vip=true", "session"]
    ranker = ranker_of(np.eye(6), names, parts=json.dumps(names))
    table = np.zeros((1, len(NAMES)), np.float32)
    table[0, NAMES.index("session")] = 0.5
    ann: dict[str, str | float | bool] = {"age": 30.0, "vip": True, "country": "PL", "plan": 2.5}
    assert ranker.score(table, ann).tolist() == [[30.0, 1.0, 1.0, 1.0, 1.0, 0.5]]
    bob: dict[str, str | float | bool] = {"age": "thirty", "vip": False, "country": "SE"}
    assert ranker.score(table, bob).tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0, 0.5]]
    assert ranker.score(table).tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0, 0.5]]


async def test_a_list_is_ordered_by_the_ranker_and_by_the_blend_when_it_fails() -> None:
    shop = Shop(each=5)
    ranker = ranker_of([-1.0], ["price_log"])  # the cheapest first
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
    ranker = ranker_of(np.eye(2), names, parts=json.dumps(["from Poland", "age"]))
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
