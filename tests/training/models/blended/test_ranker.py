"""A ranker learns what is chosen, says what each feature adds, and serves what it learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.ranking.models import onnx_ranker
from services.training.models.blended.ranker import AdditiveRanker, Example, RankerConfig
from shared.bundles.candidates import NAMES

FEATURES = ("session", "covisits", "popularity")


def examples(count: int = 300, seed: int = 0, says: float = 8.0) -> list[Example]:
    """Return choices by how near `covisits` is to .5, which no straight line tells."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        features = rng.random((20, 3)).astype(np.float32)
        features[:, 2] = rng.random() < 0.5  # of the user, not of the candidate
        liking = -says * np.abs(features[:, 1] - 0.5) + rng.gumbel(size=20)
        made.append(Example(features, int(liking.argmax())))
    return made


def fitted(says: float = 8.0) -> AdditiveRanker:
    ranker = AdditiveRanker(FEATURES, RankerConfig(loyalty=1.0))
    ranker.fit(examples(says=says))
    return ranker


def share_first(ranker: AdditiveRanker, says: float) -> float:
    asked = examples(seed=1, says=says)
    return float(np.mean([ranker.score(each.features).argmax() == each.chosen for each in asked]))


def exported(ranker: AdditiveRanker, folder: Path) -> onnxruntime.InferenceSession:
    ranker.export(folder / "ranker.onnx")
    return onnxruntime.InferenceSession(folder / "ranker.onnx", providers=["CPUExecutionProvider"])


def test_it_learns_a_curve_and_nothing_where_nothing_is() -> None:
    assert share_first(fitted(), says=8) > 0.15  # of 20 candidates; the noise leaves about .2
    assert share_first(fitted(says=0), says=0) < 0.1


def test_with_few_examples_it_stays_with_the_prior() -> None:
    ranker = AdditiveRanker(FEATURES, RankerConfig(loyalty=1e6))
    ranker.fit(examples(20), prior={"session": 3.0, "popularity": 1.0})
    table = examples(1, seed=5)[0].features

    lines = 3 * table[:, 0] + table[:, 2]
    assert np.array_equal(np.argsort(ranker.score(table)), np.argsort(lines))


def test_what_features_add_sums_to_the_score() -> None:
    ranker, table = fitted(), examples(1)[0].features

    assert ranker.contributions(table).sum(axis=1) == pytest.approx(ranker.score(table))


def test_absent_features_add_nothing() -> None:
    assert fitted().contributions(np.zeros((2, 3), np.float32)) == pytest.approx(0, abs=1e-5)


def test_what_is_alike_for_all_candidates_has_no_say() -> None:
    added = fitted().contributions(np.array([[0.5, 0.5, 0], [0.5, 0.5, 1]], np.float32))

    assert added[0, 2] == pytest.approx(added[1, 2], abs=1e-3)


def test_exported_it_says_the_same_within_and_beyond_what_was_seen(tmp_path: Path) -> None:
    ranker = fitted()
    table = np.random.default_rng(2).uniform(-1, 2, (500, 3)).astype(np.float32)

    (found,) = exported(ranker, tmp_path).run(None, {"features": table})

    assert found == pytest.approx(ranker.contributions(table), abs=1e-4)


def test_exported_it_names_features_and_parts(tmp_path: Path) -> None:
    said = exported(fitted(), tmp_path).get_modelmeta().custom_metadata_map

    assert json.loads(said["features"]) == list(FEATURES)
    assert json.loads(said["parts"]) == list(FEATURES)


def test_a_candidates_score_does_not_depend_on_the_others(tmp_path: Path) -> None:
    model, table = exported(fitted(), tmp_path), examples(1)[0].features
    (together,) = model.run(None, {"features": table})

    for row in range(len(table)):
        (alone,) = model.run(None, {"features": table[row : row + 1]})
        assert np.array_equal(alone[0], together[row])


def test_ranking_takes_it_and_gives_its_parts(tmp_path: Path) -> None:
    ranker = fitted()
    ranker.export(tmp_path / "ranker.onnx")
    table = np.random.default_rng(3).random((9, len(NAMES)), np.float32)

    served = onnx_ranker.load(tmp_path / "ranker.onnx")

    own = table[:, [NAMES.index(name) for name in FEATURES]]
    assert served.parts == list(FEATURES)
    assert served.score(table) == pytest.approx(ranker.contributions(own), abs=2e-4)


def test_kept_and_read_again_it_says_the_same(tmp_path: Path) -> None:
    ranker, table = fitted(), examples(1)[0].features

    ranker.save(tmp_path)
    again = AdditiveRanker.load(tmp_path)

    assert again.features == FEATURES
    assert np.array_equal(again.contributions(table), ranker.contributions(table))


def test_a_feature_with_one_value_is_taken(tmp_path: Path) -> None:
    ranker = AdditiveRanker(("present", "missing"), RankerConfig(knots=4))
    rng = np.random.default_rng(0)
    ranker.fit(
        Example(np.stack([rng.random(5), np.zeros(5)], 1).astype(np.float32), 0) for _ in range(9)
    )

    (found,) = exported(ranker, tmp_path).run(None, {"features": np.ones((3, 2), np.float32)})

    assert np.isfinite(found).all()


def test_without_examples_it_says_so() -> None:
    with pytest.raises(ValueError, match="needs examples with two candidates or more"):
        AdditiveRanker(FEATURES).fit([Example(np.zeros((1, 3), np.float32), 0)])
