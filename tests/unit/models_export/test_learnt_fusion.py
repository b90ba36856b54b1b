from __future__ import annotations

import numpy as np
import pytest

from deploy.models.export.fuse import learn_fusion
from shared.bundles.fusion import Fusion


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classifier rows, text vectors of their names and of words: one meaning, two senses."""
    rng = np.random.default_rng(1)
    meanings = rng.normal(size=(200, 12))
    rows = meanings @ rng.normal(size=(12, 300)) + 0.3 * rng.normal(size=(200, 300))
    names = meanings @ rng.normal(size=(12, 80)) + 0.3 * rng.normal(size=(200, 80))
    return rows.astype(np.float32), names.astype(np.float32), names[::2].astype(np.float32)


def rank_of_own_name(fusion: Fusion, rows: np.ndarray, names: np.ndarray) -> float:
    features = np.concatenate((rows, np.full((len(rows), 6), 0.4)), axis=1)
    scores = fusion.query_image(features) @ fusion.query_text(names).T
    return float((scores > np.diag(scores)[:, None]).sum(axis=1).mean())


def learnt(rows: np.ndarray, names: np.ndarray, words: np.ndarray) -> Fusion:
    return Fusion.load(learn_fusion(rows, names, words, common_columns=16, own_columns=8))


def test_features_of_a_class_come_to_lie_at_its_name(world: tuple[np.ndarray, ...]) -> None:
    rows, names, words = world
    assert rank_of_own_name(learnt(rows, names, words), rows, names) < 5


def test_what_was_learnt_holds_for_classes_never_seen(world: tuple[np.ndarray, ...]) -> None:
    rows, names, words = world
    fusion = learnt(rows[:150], names[:150], words)
    assert rank_of_own_name(fusion, rows[150:], names[150:]) < 5


def test_without_a_common_meaning_nothing_is_learnt(world: tuple[np.ndarray, ...]) -> None:
    rows, names, words = world
    shuffled = np.random.default_rng(2).permutation(names[:150])
    fusion = learnt(rows[:150], shuffled, words)
    assert rank_of_own_name(fusion, rows[150:], names[150:]) > 12  # of 50; by chance 25


def test_the_same_weights_give_the_same_bytes(world: tuple[np.ndarray, ...]) -> None:
    assert learn_fusion(*world, common_columns=16) == learn_fusion(*world, common_columns=16)
