"""A ranker is learnt from the live features, and what is written serves as it was measured."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freshet.contract.items import Item
from services.ranking.models.serving_models import ServingModels
from services.ranking.recommend import rank
from services.ranking.stages.blend import BlendSettings
from services.ranking.stages.sources import Candidates
from services.training.commands.fitting import train
from services.training.content.contents import DAY_ZERO as DAY_ZERO_BUNDLE
from services.training.content.contents import ItemContents, contents_of
from services.training.data.dataset import Dataset
from services.training.data.splits import leave_last_out
from services.training.export.bundle import write_ranked_bundle
from services.training.live.learning import BLEND, WITHOUT_TOWER, LearntRanker, learn_ranker
from services.training.models.model import FitProgress
from services.training.models.registry import RANKER
from shared.bundles.bundle import SESSION, TOWER, Bundle
from shared.bundles.candidates import NAMES
from shared.inputs.refusals import BadInput
from tests.training.models.planted import log
from tests.unit.ranking.shop import Shop
from tests.unit.ranking.test_isolation import ann
from tests.unit.ranking.test_recommend import a_deadline
from tests.unit.shared.bundles.graphs import trained_bundle

EVALUATION = {"data": "planted", "split": "leave-last-out", "seed": 0, "hr@10": 1, "ndcg@10": 0.9}


@pytest.fixture(scope="module")
def data() -> Dataset:
    found = log()
    titles = {
        item_id: Item(item_id=item_id, title=f"Thing {item_id}") for item_id in found.item_ids
    }
    return replace(found, items=titles)


@pytest.fixture(scope="module")
def contents(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ItemContents:
    return contents_of(data, cache=tmp_path_factory.mktemp("contents"))


@pytest.fixture(scope="module")
def learnt(data: Dataset, contents: ItemContents) -> LearntRanker:
    # A blend that looks at what is popular alone leaves everything to be learnt.
    settings = BlendSettings(**dict.fromkeys(BlendSettings.__slots__, 0.0) | {"popularity": 1.0})
    split = leave_last_out(data)
    return learn_ranker(split, DAY_ZERO_BUNDLE, contents, settings, 0, FitProgress())


def test_it_learns_what_the_blend_does_not_look_at(learnt: LearntRanker) -> None:
    assert learnt.ranks[RANKER].mean() < learnt.ranks[BLEND].mean() / 2
    assert (
        learnt.ranks[BLEND].tolist() == learnt.ranks[WITHOUT_TOWER].tolist()
    )  # no tower to leave out


def test_it_serves_from_its_bundle_with_parts_that_sum_to_the_score(
    learnt: LearntRanker, tmp_path: Path
) -> None:
    base = Bundle.load(DAY_ZERO_BUNDLE)
    written = write_ranked_bundle(tmp_path, learnt.ranker, DAY_ZERO_BUNDLE, EVALUATION)
    ranker = ServingModels.load(tmp_path).ranker
    assert ranker is not None
    assert written.space.startswith(f"{base.space}-")
    assert written.evaluation == EVALUATION
    assert {name: written.files[name] for name in base.files} == base.files

    shop = Shop(towers=True)
    space = replace(shop.space, ranker=ranker)
    rows = np.arange(len(shop.catalogue))
    everything = Candidates(rows, np.zeros(len(rows), np.int64))
    ranked = asyncio.run(rank(everything, ann(shop)._replace(), space, a_deadline()))
    assert ranked.part_names == list(NAMES)
    added = sum(extra for _, extra in ranked.rules)
    assert np.array_equal(ranked.parts.sum(axis=1) + added, ranked.scores)
    np.testing.assert_allclose(
        ranked.parts, learnt.ranker.contributions(ranked.features), atol=1e-3
    )


def test_the_towers_of_its_base_serve_on(learnt: LearntRanker, tmp_path: Path) -> None:
    base = trained_bundle(tmp_path / "base", Bundle.load(DAY_ZERO_BUNDLE))
    written = write_ranked_bundle(tmp_path / "with", learnt.ranker, tmp_path / "base", EVALUATION)
    assert written.tower == base.tower
    assert all(written.files[name] == base.files[name] for name in (TOWER, SESSION))
    assert ServingModels.load(tmp_path / "with").tower is not None
    assert written.space != base.space


def test_the_command_writes_a_bundle_that_the_gate_can_judge(tmp_path: Path) -> None:
    rows = ["user_id,item_id"] + [
        f"{user},{(user % 3) * 8 + (user + step) % 8}" for user in range(40) for step in range(5)
    ]
    (tmp_path / "interactions.csv").write_text("\n".join(rows))
    titles = ["item_id,title"] + [f"{item},Thing {item}" for item in range(24)]
    (tmp_path / "items.csv").write_text("\n".join(titles))
    train(RANKER, tmp_path, bundle=tmp_path / "bundle", fits_folder=tmp_path / "fits")
    evaluation = Bundle.load(tmp_path / "bundle").evaluation
    assert evaluation["split"] == "leave-last-out"
    assert {"hr@10", "ndcg@10"} <= evaluation.keys() & evaluation["day_zero"].keys()


def test_without_a_bundle_it_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--bundle FOLDER says where"):
        train(RANKER, tmp_path)


def test_where_nothing_can_be_learnt_from_it_says_so(contents: ItemContents, data: Dataset) -> None:
    short = leave_last_out(data.with_events(data.events.first(2)))
    with pytest.raises(BadInput, match="planted: a ranker needs examples"):
        learn_ranker(short, DAY_ZERO_BUNDLE, contents, BlendSettings(), 0, FitProgress())
