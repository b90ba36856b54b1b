"""Measure models by their lists over the whole catalogue, against what users chose next."""

from __future__ import annotations

from services.training.data.splits import Asked, Split
from services.training.evaluation import comparison
from services.training.evaluation.by_index import index_figures
from services.training.evaluation.by_pairs import (
    JudgedPairs,
    judged_pairs,
    pair_figures,
    pair_gains,
)
from services.training.evaluation.measure import (
    Answers,
    Figures,
    ListFigures,
    accuracy,
    answers,
    brief_accuracy,
)
from services.training.evaluation.segments import segments
from services.training.fits import Choice, Fits
from services.training.models.model import Model, ProbabilityModel, failing_as


class ByLists:
    """Asks all models the same."""

    def __init__(self, split: Split, fits: Fits, seed: int, *, own_history: bool = False) -> None:
        """own_history: whether what a user has chosen already is ranked, too."""
        self._split = split
        self._fits = fits
        self._seed = seed
        self._own_history = own_history
        self._lists = ListFigures(split.train)
        self._segments = segments(split.test, split.train)
        self.users = len(split.test)

    def takes(self, model: str) -> bool:
        """Say whether a model makes lists: all do."""
        return True

    def measure(self, choice: Choice, *, again: bool) -> Figures | None:
        """Fit a model; return its figures, None where it was stopped.

        Those of validation, of parts of the test and of segments stand in tables of their own.
        """
        fit = self._fits.fit(choice, again=again)
        if not fit.complete:
            return None
        with failing_as(choice.name):
            tested = self._answers(fit.model, self._split.test)
            validated = self._answers(fit.model, self._split.validation)
            parts = {
                name: self._of(self._answers(fit.model, asked))
                for name, asked in self._split.parts.items()
            }
        return {
            **fit.cost(),
            "score_us": tested.score_us,
            **index_figures(fit.model, self._split.test.histories),
            **self._of(tested),
            **self._of_pairs(choice, fit.model),
            "of_users": comparison.of_lists(tested.ranks),
            "validation": accuracy(validated.ranks, self._seed),
            "parts": parts,
            "by": {
                by: {
                    name: brief_accuracy(tested.ranks[rows], self._seed)
                    for name, rows in rows_of.items()
                }
                for by, rows_of in self._segments.items()
            },
            "curve": fit.curve(),
        }

    def _of_pairs(self, choice: Choice, model: Model) -> Figures:
        """Return what probabilities are worth, of a model that gives them."""
        if not isinstance(model, ProbabilityModel):
            return {}
        judged = self._judged(model)
        if choice.name == choice.model:
            return pair_figures(judged, self._seed)
        plain = self._fits.fitted(choice.model)
        assert isinstance(plain, ProbabilityModel)
        gains = pair_gains(judged, self._judged(plain), self._seed)
        return pair_figures(judged, self._seed) | gains

    def _judged(self, model: ProbabilityModel) -> JudgedPairs:
        return judged_pairs(model, self._split.test, self._split.train.n_items, self._seed)

    def _answers(self, model: Model, asked: Asked) -> Answers:
        return answers(model.score, asked, own_history=self._own_history)

    def _of(self, said: Answers) -> Figures:
        of_lists = self._lists.of(said.first, said.asked.histories)
        return {**accuracy(said.ranks, self._seed), **of_lists}
