"""A target's rank is what a person would count."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.data.histories import Histories
from services.training.data.splits import Asked
from services.training.evaluation.ranks import hit_rate, ndcg, ranks_of


def asked(history: list[int], target: int) -> Asked:
    items = np.array(history, np.int64)
    return Asked(Histories(np.array([0]), np.array([0, len(items)]), items), np.array([target]))


def rank(
    scores: list[float], history: list[int], target: int, *, own_history: bool = False
) -> float:
    table = np.array([scores], np.float32)
    return float(ranks_of(table, asked(history, target), own_history=own_history)[0])


def test_the_best_item_has_rank_0() -> None:
    assert rank([0.1, 0.9, 0.5], [], 1) == 0


def test_own_history_is_left_out_unless_asked_for() -> None:
    assert rank([0.9, 0.5, 0.1], [0], 1) == 0
    assert rank([0.9, 0.5, 0.1], [0], 1, own_history=True) == 1


def test_an_item_chosen_again_is_ranked() -> None:
    assert rank([0.9, 0.5, 0.1], [0, 1], 1) == 0


def test_a_tie_counts_at_the_middle() -> None:
    assert rank([0.5, 0.5, 0.5, 0.5, 0.5], [], 3) == 2
    assert rank([0.5, 0.5, 0.5, 0.5, 0.5], [0, 1], 3) == 1


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="scores must be numbers; those of row 0 are not"):
        rank([np.nan, 0.5], [], 1)


def test_gain_falls_with_the_rank() -> None:
    assert ndcg(np.array([0.0, 1, 9, 10]), 10).tolist() == pytest.approx(
        [1, 1 / np.log2(3), 1 / np.log2(11), 0]
    )
    assert hit_rate(np.array([0.0, 9, 9.5, 10]), 10).tolist() == [1, 1, 1, 0]
