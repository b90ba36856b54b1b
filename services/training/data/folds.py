"""Part ratings into folds: each is predicted once, by what was learnt from all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Ints
from shared.inputs.refusals import BadInput

FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class RatingFold:
    """What is learnt from, and the ratings to predict."""

    train: Dataset
    users: Ints  # (n,) numbers
    items: Ints  # (n,)
    ratings: Floats  # (n,)


def k_folds(data: Dataset, seed: int = 0, k: int = FOLDS) -> Iterator[RatingFold]:
    """Yield the folds, equal in size up to one. Raises BadInput for events without ratings."""
    events = data.events
    if events.values is None:
        raise BadInput(f"{data.name}: folds need events with ratings, has none")
    if len(events.items) < k:
        raise BadInput(f"{data.name}: {k} folds need {k} ratings, has {len(events.items)}")
    folds = np.random.default_rng(seed).permutation(len(events.items)) % k
    users = events.users[events.rows()]
    for fold in range(k):
        asked = folds == fold
        yield RatingFold(
            data.with_events(events.kept(~asked)),
            users[asked],
            events.items[asked],
            events.values[asked],
        )
