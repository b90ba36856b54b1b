"""Add what several models say, each by a weight that is learnt on the validation split.

Legend: u users; i items of the catalogue; p parts; c candidates of a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import logsumexp

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.data.splits import Asked
from services.training.evaluation.ranks import asked_in_parts, ndcg, without_history
from services.training.models.model import Config, FitFailed, Model, Preset, Run, Size, Tensors
from services.training.models.registry import model_type

PARTS: Final = "parts"  # a folder in which each part is kept by its name
STEPS: Final = (0.0, 0.5, 0.7, 0.85, 1.2, 1.4, 2.0)  # factors of a weight that are tried
ROUNDS: Final = 20  # through all weights, at most
NUDGE: Final = 0.01  # what a weight of 0 is tried at, so that it can return

Weights = NDArray[np.float64]


class BlendConfig(Config, frozen=True):
    """Which models it adds, and how far their weights are learnt."""

    parts: tuple[str, ...] = ("sasrec", "linear-next", "covisits", "ease-recency")
    candidates: Size = 100  # first items of each part that weights are learnt by

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of."""
        more = ("fuxi", "esasrec", "hstu", "session-knn")
        return cls() if preset == "quick" else cls(parts=(*cls().parts, *more))


class Blend(Model):
    """Adds each part's scores, standardised within the user, so that no part's scale counts.

    Weights begin where the targets are likeliest (a conditional logit) and are then moved as long
    as NDCG@10 rises. The parts have learnt from the training split alone.
    """

    name = "blend"
    paper = "stacking, Breiman 1996; coordinate ascent on a ranking's figure, Metzler & Croft 2007"
    config_type = BlendConfig
    on_device = True

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. Raises FitFailed where nothing is there to choose by."""
        if run.fitted is None or run.validation is None or not len(run.validation):
            raise FitFailed("it needs fitted parts and a validation split")
        self._parts = [run.fitted(name) for name in self.config.parts]
        choices = choices_of(self._parts, run.validation, self.config.candidates)
        if not len(choices.of_target):
            raise FitFailed("no part has what was chosen among its first items")
        self.weights = climbed(choices, likeliest(choices))
        figures = {f"weight {part.name}": float(w) for part, w in self._named()}
        run.progress.step(1, 1, **figures)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        tables = [
            np.float32(weight) * standardised(part.score(histories))
            for part, weight in self._named()
        ]
        scores: Floats = np.sum(tables, axis=0)
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors; those of the parts stand in their own folders."""
        return {"weights": self.weights}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self.weights = tensors["weights"]

    def save(self, folder: Path) -> None:
        """See Model.save."""
        super().save(folder)
        for part in self._parts:
            part.save(folder / PARTS / part.name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See Model.load."""
        blend = super().load(folder)
        blend._parts = [model_type(name).load(folder / PARTS / name) for name in blend.config.parts]
        return blend

    def _named(self) -> list[tuple[Model, float]]:
        return list(zip(self._parts, self.weights.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class BlendCandidates:
    """What each user could have chosen, by each part, and what it was."""

    scores: Floats  # (u, c, p) standardised
    there: NDArray[np.bool_]  # (u, c) False: not a candidate
    of_target: Ints  # (u,) its column

    def ndcg(self, weights: Weights) -> float:
        """Return NDCG@10 of the parts added, of these users alone."""
        added = np.where(self.there, self.scores @ weights.astype(np.float32), -np.inf)
        target = np.take_along_axis(added, self.of_target[:, None], 1)
        above = np.count_nonzero(added > target, axis=1)
        equal = np.count_nonzero(added == target, axis=1) - 1
        return float(ndcg(above + equal / 2, 10).mean())

    def surprise(self, weights: Weights) -> tuple[float, Weights]:
        """Return the mean negative log-likelihood of the targets and its gradient, (p,)."""
        added = np.where(self.there, self.scores @ weights.astype(np.float32), -np.inf)
        logs = added - logsumexp(added, axis=1, keepdims=True)
        rows = np.arange(len(added))
        expected = np.einsum("uc,ucp->p", np.exp(logs), self.scores) / len(added)
        met = self.scores[rows, self.of_target].mean(axis=0)
        return -float(logs[rows, self.of_target].mean()), (expected - met).astype(np.float64)


def standardised(scores: Floats) -> Floats:
    """Return (u, i) scores with mean 0 and deviation 1 within each user; all alike become 0."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    found: Floats = centred / np.where(deviation > 0, deviation, 1)
    return found


def choices_of(parts: Sequence[Model], asked: Asked, at_most: int) -> BlendCandidates:
    """Collect the first items of each part, own history left out, of users whose target is there.

    To add a target that no part proposes would teach that what no part proposes is chosen.
    """
    pieces = [_choices(parts, some, at_most) for some in asked_in_parts(asked)]
    scores, there, of_target = (np.concatenate(each) for each in zip(*pieces, strict=True))
    return BlendCandidates(scores, there, of_target)


def _choices(
    parts: Sequence[Model], asked: Asked, at_most: int
) -> tuple[Floats, NDArray[np.bool_], Ints]:
    tables = [standardised(part.score(asked.histories)) for part in parts]
    at_most = min(at_most, tables[0].shape[1])
    first = [
        np.argpartition(-without_history(table, asked.histories), at_most - 1, axis=1)[:, :at_most]
        for table in tables
    ]
    items = np.sort(np.concatenate(first, axis=1), axis=1)
    there = np.diff(items, axis=1, prepend=-1) > 0  # an item that several propose stands once
    rows = np.arange(len(items))[:, None]
    own = np.zeros(tables[0].shape, bool)
    own[asked.histories.rows(), asked.histories.items] = True
    there &= ~own[rows, items]
    is_target = (items == asked.targets[:, None]) & there
    met = is_target.any(axis=1)
    scores = np.stack([table[rows, items] for table in tables], axis=2)
    return scores[met], there[met], is_target.argmax(axis=1)[met]


def likeliest(choices: BlendCandidates) -> Weights:
    """Return the weights of 0 or more that make the targets likeliest, (p,)."""
    begin = np.full(choices.scores.shape[2], 0.1)
    bounds = [(0, None)] * len(begin)
    found = optimize.minimize(choices.surprise, begin, jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Weights = found.x
    return weights


def climbed(choices: BlendCandidates, weights: Weights) -> Weights:
    """Move one weight at a time as long as NDCG@10 rises."""
    best = choices.ndcg(weights)
    for _ in range(ROUNDS):
        before = best
        for part in range(len(weights)):
            for step in STEPS:
                tried = weights.copy()
                tried[part] = weights[part] * step or NUDGE * (step > 0)
                figure = choices.ndcg(tried)
                if figure > best:
                    best, weights = figure, tried
        if best == before:
            break
    return weights
