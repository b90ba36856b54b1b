"""Probabilities are judged beside what is drawn, by hand and user by user."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.data.splits import Asked, leave_last_out
from services.training.evaluation.by_pairs import judged_pairs, pair_figures, pair_gains
from services.training.evaluation.measure import Figures
from services.training.models.model import ProbabilityModel, Run, Tensors
from tests.unit.training.logs import dataset

ITEMS = 1_000
ASKED = leave_last_out(dataset([[n, n + 1, n + 2, 2 * n + 500] for n in range(200)], ITEMS)).test


class Guess(ProbabilityModel):
    """Gives all items of an even number one probability, and the others another."""

    name = "guess"
    paper = "none"

    def __init__(self, even: float, odd: float) -> None:
        super().__init__()
        self._chances = even, odd

    @property
    def negatives(self) -> int:
        return 4

    def probabilities(self, histories: Histories, candidates: Ints) -> Floats:
        assert len(histories) == len(candidates)
        even, odd = self._chances
        return np.where(candidates % 2, odd, even).astype(np.float32)

    def fit(self, data: Dataset, run: Run) -> None:
        raise NotImplementedError

    def score(self, histories: Histories) -> Floats:
        raise NotImplementedError

    def tensors(self) -> Tensors:
        raise NotImplementedError

    def restore(self, tensors: Tensors) -> None:
        raise NotImplementedError


def figures(model: ProbabilityModel, asked: Asked = ASKED, seed: int = 0) -> Figures:
    return pair_figures(judged_pairs(model, asked, ITEMS, seed), seed)


def test_who_knows_nothing_is_as_good_as_chance_and_calibrated() -> None:
    found = figures(Guess(0.2, 0.2))
    assert found["auc"] == 0.5
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert found["log_loss"] == pytest.approx(entropy, abs=0.005)  # some drawn did come next
    assert found["calibration_error"] < 0.005


def test_who_tells_even_from_odd_beats_half_of_what_is_drawn() -> None:
    """All that came next is even: half of what is drawn is odd and lies below, half is a tie."""
    found = figures(Guess(1 / 3, 0.001))
    assert found["auc"] == pytest.approx(0.75, abs=0.01)
    low, high = found["auc_interval"]
    assert low < found["auc"] < high
    assert found["calibration_error"] < 0.01
    assert found["log_loss"] < figures(Guess(0.2, 0.2))["log_loss"]


def test_gains_are_those_of_the_same_users_beside_the_same_items() -> None:
    one, other = (
        judged_pairs(model, ASKED, ITEMS, 0) for model in (Guess(1 / 3, 0.001), Guess(0.2, 0.2))
    )
    gains = pair_gains(one, other, 0)
    assert gains["auc_gain"] == pytest.approx(0.25, abs=0.01)
    assert gains["log_loss_gain"] < gains["log_loss_gain_interval"][1] < 0
    assert set(pair_gains(one, one, 0)["auc_gain_interval"]) == {0}


def test_another_seed_draws_others() -> None:
    assert figures(Guess(0.3, 0.1)) == figures(Guess(0.3, 0.1))
    assert figures(Guess(0.3, 0.1)) != figures(Guess(0.3, 0.1), seed=1)
