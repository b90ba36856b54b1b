"""Compare models user by user: is one better than another by more than chance?

Results keep for it what a model came to with each user, `of_users`, packed: `ranks`, twice the rank
of the target, all beyond the first ten alike; or of ratings `squared_errors`, summed, and their
number, `ratings`. Users stand in one order for all models of a protocol.

Legend: u users.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.training.evaluation.ranks import Ranks, ndcg
from services.training.evaluation.significance import Values, drawn_means, interval, randomisation

FIRST: Final = 10  # places of a list that count
SIGNIFICANT: Final = 0.05
_TYPES: Final = {"ranks": np.uint8, "squared_errors": np.float32, "ratings": np.uint32}

Model = Mapping[str, Any]  # a model's results
Packed = dict[str, str]


class Comparison(NamedTuple):
    """What a model's figure, NDCG@10 or RMSE, is more than another's, (low, high) by users."""

    difference: float
    low: float
    high: float
    p: float  # of a difference as large by chance, either way; with Holm's for many comparisons

    @property
    def is_significant(self) -> bool:
        """Say whether chance is no explanation."""
        return self.p < SIGNIFICANT


def of_lists(ranks: Ranks) -> Packed:
    """Pack ranks from 0, halves among them, (u,)."""
    return _packed(ranks=np.minimum(2 * ranks, 2 * FIRST))


def of_ratings(squared_errors: Values, ratings: Values) -> Packed:
    """Pack the sum of each user's squared errors and their number, (u,)."""
    return _packed(squared_errors=squared_errors, ratings=ratings)


def comparisons(models: Mapping[str, Model], against: str, seed: int) -> dict[str, Comparison]:
    """Return how the others compare with one, as far as results keep what is needed for it."""
    other = models[against]
    names = [name for name, model in models.items() if _are_comparable(model, other)]
    if against not in names:
        return {}
    summed = [_summed(models[name]["of_users"]) for name in names]
    _, weights = summed[0]
    of_users = np.stack([*(values for values, _ in summed), weights], axis=1)  # (u, models + 1)
    is_root = "ratings" in other["of_users"]

    def figures(means: Values) -> Values:
        found: Values = means[..., :-1] / means[..., -1:]
        return np.sqrt(found) if is_root else found

    own = names.index(against)
    told, drawn = figures(of_users.mean(axis=0)), figures(drawn_means(of_users, seed))
    others = [at for at in range(len(names)) if at != own]
    chances = [randomisation(of_users[:, at], of_users[:, own], seed) for at in others]
    return {
        names[at]: Comparison(
            float(told[at] - told[own]), *interval(drawn[:, at] - drawn[:, own]), chance
        )
        for at, chance in zip(others, holm(chances), strict=True)
    }


def holm(chances: Sequence[float]) -> list[float]:
    """Return p values for being one of several, by Holm: any false one at all has that chance."""
    order = np.argsort(chances)
    factors = np.arange(len(chances), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(np.array(chances)[order] * factors), 1)
    found = np.empty(len(chances))
    found[order] = adjusted
    return found.tolist()


def _are_comparable(model: Model, other: Model) -> bool:
    """Say whether results keep what both came to with each user, asked alike."""
    kept, of_other = model.get("of_users", {}), other.get("of_users", {})
    asked_alike = model.get("own_history") == other.get("own_history")
    return bool(kept) and kept.keys() == of_other.keys() and asked_alike


def _summed(of_users: Packed) -> tuple[Values, Values]:
    """Return what is averaged over users, and how much each counts, (u,)."""
    if "ranks" in of_users:
        ranks = _unpacked("ranks", of_users) / 2
        return ndcg(ranks, FIRST), np.ones(len(ranks))
    return _unpacked("squared_errors", of_users), _unpacked("ratings", of_users)


def _packed(**arrays: Values) -> Packed:
    return {
        name: base64.b64encode(zlib.compress(array.astype(_TYPES[name]).tobytes())).decode()
        for name, array in arrays.items()
    }


def _unpacked(name: str, of_users: Packed) -> NDArray[np.float64]:
    raw = zlib.decompress(base64.b64decode(of_users[name]))
    return np.frombuffer(raw, _TYPES[name]).astype(np.float64)
