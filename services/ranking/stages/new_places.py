"""Give new items their places: a bounded share of a list, for what nobody can have met. Pure.

Evidence (what others did) decides a list, and an item that hardly anybody has met has none. So each
whole 1 / share places hold one place in their second half for the new item that is most like what
the user likes, if it is as like it as half of the list is. Which place it is differs from user to
user and item to item, evenly and the same each time, so each item's propensity is known: the
probability, over all users, with which it stands where it stands.

Legend: n candidates; k places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.settings import setting
from services.ranking.stages.features import NEW_FROM, likeness
from shared.bundles.candidates import FeatureColumn

MET_FROM: Final = np.float32(0.5)  # popularity: 1/256 of the visits of the most visited item


@dataclass(frozen=True, slots=True)
class NewPlacesSettings:
    """How much of a list new items may take."""

    share: float = setting(
        "FRESHET_NEW_SHARE",
        0.1,
        at_least=0,
        at_most=0.5,
        help="of a list's places, for new items that nobody met yet: 1 of 10; 0: none",
    )


class Placed(NamedTuple):
    """A list with its new items in place."""

    order: list[int]  # candidates, (k,)
    propensities: list[float]  # (k,)
    new: list[int]  # candidates that stand there because they are new


def placed(
    order: Sequence[int],  # candidates by what ranked them, (k,)
    features: NDArray[np.float32],  # (n, f)
    may_join: Callable[[list[int], int], bool],  # candidates chosen before, candidate
    draw: Callable[[int, int], int],  # (candidate, m) → a place of 0 to m - 1
    share: float,
) -> Placed:
    """Let new items take their places from the last of a list, where none of it is new already."""
    each = round(1 / share) if share else 0
    chosen = _chosen(order, features, may_join, len(order) // each if each else 0)
    rest = order[: len(order) - len(chosen)]
    listed: list[int] = []
    propensities: list[float] = []
    for index, new in enumerate(chosen):
        block = rest[index * (each - 1) : (index + 1) * (each - 1)]
        begin = each // 2
        count = each - begin  # places that the new item may get
        at = begin + draw(new, count)
        listed += [*block[:at], new, *block[at:]]
        for place in range(each):
            if place == at:
                propensities.append(1 / count)
            elif place < at:
                propensities.append((each - max(place + 1, begin)) / count)
            else:
                propensities.append((place - begin) / count)
    listed += rest[len(chosen) * (each - 1) :]
    propensities += [1.0] * (len(listed) - len(propensities))
    return Placed(listed, propensities, chosen)


def _chosen(
    order: Sequence[int],
    features: NDArray[np.float32],
    may_join: Callable[[list[int], int], bool],
    places: int,
) -> list[int]:
    """Return the new items that are to be added, at most as many as there are places for them."""
    if not places:
        return []
    new = (features[:, FeatureColumn.FRESHNESS] >= NEW_FROM) & (features[:, FeatureColumn.NEW] > 0)
    new &= features[:, FeatureColumn.POPULARITY] < MET_FROM
    places -= int(np.count_nonzero(new[list(order)]))
    if places <= 0 or not new.any():
        return []
    alike = likeness(features)
    new &= alike >= np.median(alike[list(order)])
    new[list(order)] = False
    competing = np.flatnonzero(new)
    best = competing[np.argsort(-features[competing, FeatureColumn.NEW], kind="stable")]
    chosen: list[int] = []
    for candidate in best.tolist():
        if len(chosen) == places:
            break
        if may_join(chosen, candidate):
            chosen.append(candidate)
    return chosen
