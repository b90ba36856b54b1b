"""Score every item for a user's history by the features of the running system, as ranking would.

Legend: u users; i items; n candidates; f features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from services.training.content.contents import ItemContents
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.data.splits import Asked
from services.training.live.imported import NOW_MS, catalogue_of, log_of
from services.training.live.system import LiveSystem
from services.training.models.blended.ranker import Example
from services.training.models.model import Scoring
from shared.bundles.bundle import SESSION, Bundle
from shared.bundles.towers import OnnxSessionTower

ByFeatures = Callable[[Floats], Floats]  # (n, f) → (n,) scores


class LiveScoring:
    """What others did is that of the training events; a user is who was asked, as of then."""

    def __init__(self, data: Dataset, last_s: int, contents: ItemContents, bundle: Bundle) -> None:
        """Tell all events of the data, whose last time is last_s with those of whoever is asked.

        contents: by the bundle's encoders. Raises BadBundle.
        """
        tower = OnnxSessionTower(bundle) if SESSION in bundle.files else None
        self._item_ids, self._last_s = data.item_ids, last_s
        self._rows = np.arange(data.n_items)
        self._system = LiveSystem(catalogue_of(data, contents, bundle), NOW_MS, tower)
        self._system.tell(log_of(data.events, last_s, data.item_ids))

    def features(self, histories: Histories) -> Iterator[Floats]:
        """Yield the features of all items for each user, (i, f)."""
        for row in range(len(histories)):
            of_user = histories.take(np.array([row]))
            log = log_of(of_user, self._last_s, self._item_ids)
            yield self._system.features(log, self._rows)

    def by(self, score: ByFeatures) -> Scoring:
        """Return what scores all items for histories, (u, i), as models do."""

        def scores(histories: Histories) -> Floats:
            return np.stack([score(table) for table in self.features(histories)])

        return scores

    def examples(self, asked: Asked, score: ByFeatures, at_most: int) -> Iterator[Example]:
        """Yield what scores best for each user, and which of it was chosen.

        The own history is left out, and whoever chose something else: to add that would teach that
        what scores low is chosen.
        """
        for row, table in enumerate(self.features(asked.histories)):
            scores = score(table)
            scores[asked.histories.of(row)] = -np.inf
            first = np.argsort(-scores, kind="stable")[:at_most]
            (chosen,) = np.nonzero(first == asked.targets[row])
            if len(chosen) and np.isfinite(scores[asked.targets[row]]):
                yield Example(table[first], int(chosen[0]))
