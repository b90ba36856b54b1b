"""Be the running system in memory: fold events as sessions does, describe items as ranking does.

Legend: n candidates; f features; t numbers of tower vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages import features
from services.ranking.stages.features import NO_TREND, FeatureSettings, Trend, trend_of
from services.ranking.stages.signals import (
    ALL_AT_MOST,
    COVISITS_READ,
    SCOPE_AT_MOST,
    Signals,
    Weighted,
)
from services.ranking.stages.user_profile import UserProfile, profile_of, tower_history
from services.sessions.fold.fold import FoldEvent, fold, fold_many
from services.sessions.fold.settings import FoldSettings
from services.training.data.histories import Floats, Ints
from services.training.live.bounded_set import BoundedSet
from shared.bundles.towers import OnnxSessionTower
from shared.catalogue.catalogue import Catalogue
from shared.users import keys, states
from shared.users.states import UserState

BATCH_EVENTS: Final = 4_096
MANY_SCOPES: Final = {keys.ALL_SCOPE, keys.POPULAR_SCOPE}


class LiveSystem:
    """What Redis would hold of the events that were told, and what ranking makes of it."""

    def __init__(
        self, catalogue: Catalogue, now_ms: int, tower: OnnxSessionTower | None = None
    ) -> None:
        """now_ms: when lists are made. tower: of the bundle that serves."""
        self.catalogue = catalogue
        self._now_ms = now_ms
        self._tower = tower
        self._fold_settings, self._feature_settings = FoldSettings(), FeatureSettings()
        self._covisits: dict[int, BoundedSet] = defaultdict(
            partial(BoundedSet, keys.COVISITS_AT_MOST)
        )
        self._trending: dict[str, BoundedSet] = defaultdict(
            partial(BoundedSet, keys.TRENDING_AT_MOST)
        )
        self._trends: dict[str, Trend] = {}  # as the catalogue has them

    def tell(self, log: Sequence[FoldEvent]) -> None:
        """Take in what events of all users cause; their states are of no use later."""
        told: dict[str, UserState] = {}
        for begin in range(0, len(log), BATCH_EVENTS):
            batch = log[begin : begin + BATCH_EVENTS]
            folded = fold_many(told, batch, self.catalogue, self._fold_settings)
            told.update(folded.states)
            for (item, follower), weight in folded.covisits.items():
                self._covisits[item].add(follower, weight)
            for (scope, item), weight in folded.trends.items():
                self._trending[scope].add(item, weight)
        self._trends.clear()

    def features(self, history: Sequence[FoldEvent], rows: Ints) -> Floats:
        """Return the features of candidates for a user with this history, (n, f)."""
        catalogue, settings = self.catalogue, self._feature_settings
        state, _, _ = fold(states.empty(), history, catalogue, self._fold_settings)
        prices = catalogue.terms.price
        profile = profile_of(state, catalogue, prices, self._fold_settings.vectors)
        signals = Signals({key: self._followers(key) for key in profile.visited}, {})
        return features.features(
            profile,
            features.covisited(profile, signals, catalogue, self._now_ms, settings),
            features.trends_for(profile, "", self._trend),
            catalogue,
            prices,
            rows,
            self._now_ms,
            settings,
            self._query(profile),
        )

    def _followers(self, key: int) -> Weighted:
        return _first(self._covisits.get(key), COVISITS_READ)

    def _trend(self, scope: str) -> Trend:
        if scope not in self._trending:
            return NO_TREND
        if scope not in self._trends:
            count = ALL_AT_MOST if scope in MANY_SCOPES else SCOPE_AT_MOST
            self._trends[scope] = trend_of(_first(self._trending[scope], count), self.catalogue)
        return self._trends[scope]

    def _query(self, profile: UserProfile) -> NDArray[np.float32] | None:
        vectors = self.catalogue.tower_vectors
        if self._tower is None or vectors is None:
            return None
        history = tower_history(profile.chosen, vectors)
        return self._tower.query(history) if len(history) else None


def _first(held: BoundedSet | None, count: int) -> Weighted:
    """Return the heaviest items of a set, none of one that is not there."""
    if held is None:
        return Weighted(np.empty(0, np.uint64), np.empty(0, np.float64))
    items = held.heaviest()
    return Weighted(items.keys[:count], items.scores[:count])
