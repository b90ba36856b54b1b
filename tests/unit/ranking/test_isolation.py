"""An item's score does not depend on which others are in the call: any subset, in any order."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from services.ranking.live.user_reader import read_input
from services.ranking.models.onnx_ranker import OnnxRanker
from services.ranking.recommend import rank
from services.ranking.serving_space import ServingSpace
from services.ranking.stages.blend import PARTS
from services.ranking.stages.products import products
from services.ranking.stages.recommendation import RankingInput
from services.ranking.stages.sources import Candidates
from shared.bundles.candidates import BLOCK, NAMES
from shared.bundles.ranker import RankerModel
from tests.unit.ranking.shop import Shop
from tests.unit.ranking.test_recommend import a_deadline
from tests.unit.shared.bundles.graphs import ranker_model

BOOSTS = [
    pb.BoostRule(name="few", match=pb.Filters(categories_any=["lamp", "vase"]), factor=1.5),
    pb.BoostRule(name="rugs", match=pb.Filters(categories_any=["rug", "vase"]), factor=0.3),
]


def ann(shop: Shop) -> RankingInput:
    """Return what is read of a user for whom every feature says something."""
    shop.user(
        "ann",
        [("click", "lamp-3"), ("like", "rug-1"), ("dislike", "vase-2"), ("click", "chair-4")],
    )
    shop.follows("chair-4", {"rug-7": 50.0, "lamp-2": 9.0, "vase-5": 5.0})
    shop.trends("all", {"vase-1": 5.0, "vase-2": 4.0, "lamp-3": 3.0})
    shop.trends("popular", {"rug-1": 50.0, "rug-2": 40.0})
    request = pb.RecommendRequest(user_id="ann", rules=pb.Rules(boosts=BOOSTS))
    query = requests.recommend(request)

    async def read() -> RankingInput:
        await shop.space.trending.renew()
        return await read_input(query, shop.space, a_deadline())

    return asyncio.run(read())


def scored(
    rows: list[int], user: RankingInput, space: ServingSpace
) -> dict[int, tuple[float, bytes]]:
    """Return each row's score and the bytes of its contributions, boosts and features."""
    candidates = Candidates(np.array(rows, np.int64), np.zeros(len(rows), np.int64))
    ranked = asyncio.run(rank(candidates, user, space, a_deadline()))
    boosts = np.stack([added for _, added in ranked.rules], 1)
    told = np.concatenate([ranked.parts, boosts, ranked.features], 1)
    return {
        row: (float(score), told[number].tobytes())
        for number, (row, score) in enumerate(zip(ranked.rows.tolist(), ranked.scores, strict=True))
    }


SHOP = Shop(each=30, towers=True)
ANN = ann(SHOP)
HIDDEN = np.random.default_rng(3).standard_normal((len(NAMES), 2))
RANKERS = {
    "the blend": SHOP.space.ranker,
    "a trained ranker": OnnxRanker(
        RankerModel(ranker_model(HIDDEN, list(NAMES), parts=json.dumps(["one", "two"])))
    ),
}
ROWS = list(range(len(SHOP.catalogue)))


@pytest.mark.parametrize("ranker", RANKERS)
@given(rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=len(ROWS), unique=True))
@settings(max_examples=60, deadline=None)
def test_a_score_is_the_same_beside_any_others_in_any_order(ranker: str, rows: list[int]) -> None:
    space = dataclasses.replace(SHOP.space, ranker=RANKERS[ranker])
    together = scored(ROWS, ANN, space)
    some = scored(rows, ANN, space)
    assert some == {row: together[row] for row in rows}


def test_every_part_of_the_scores_that_are_compared_says_something() -> None:
    candidates = Candidates(np.array(ROWS, np.int64), np.zeros(len(ROWS), np.int64))
    ranked = asyncio.run(rank(candidates, ANN, SHOP.space, a_deadline()))
    silent = [name for name, part in zip(PARTS, ranked.parts.T, strict=True) if not np.ptp(part)]
    assert silent == ["freshness"], "all are of one day"
    assert all(added.any() for _, added in ranked.rules)


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 500])
@pytest.mark.parametrize("queries", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("dim", [16, 64, 96])
def test_a_product_is_rounded_alike_beside_any_others(count: int, queries: int, dim: int) -> None:
    random = np.random.default_rng(count)
    table = random.standard_normal((600, dim)).astype(np.float16)
    asked = random.standard_normal((queries, dim)).astype(np.float32)
    rows = random.permutation(600)[:count]
    every = products(table, np.arange(600), asked)
    assert products(table, rows, asked).tobytes() == every[:, rows].tobytes()
    assert every == pytest.approx(asked @ table.astype(np.float32).T, abs=1e-3)
