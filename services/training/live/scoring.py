"""Score every item for a user's history by the features of the running system, as ranking would.

Legend: u users; i items; n candidates; f features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from services.training.content.contents import ItemContents
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.data.splits import Asked
from services.training.evaluation.ranks import Ranks, ranks_of
from services.training.live.imported import NOW_MS, catalogue_of, log_of
from services.training.live.system import LiveSystem
from services.training.models.blended.ranker import Example
from shared.bundles.bundle import SESSION, Bundle
from shared.bundles.towers import OnnxSessionTower

ByFeatures = Callable[[Floats], Floats]  # (n, f) → (n,) scores


class LiveScoring:
    """What others did is that of the training events; a user is who was asked, as of then.

    An item of which neither text nor picture is known is served to nobody: it scores below all.
    """

    def __init__(self, data: Dataset, last_s: int, contents: ItemContents, bundle: Bundle) -> None:
        """Tell all events of the data, whose last time is last_s with those of whoever is asked.

        contents: by the bundle's encoders. Raises BadBundle.
        """
        tower = OnnxSessionTower(bundle) if SESSION in bundle.files else None
        catalogue = catalogue_of(data, contents, bundle)
        self._item_ids, self._last_s = data.item_ids, last_s
        self._served = np.array([catalogue.row(item_id) >= 0 for item_id in data.item_ids])
        self._rows = np.arange(len(catalogue))  # of the items that are served, in their order
        self._system = LiveSystem(catalogue, NOW_MS, tower)
        self._system.tell(log_of(data.events, last_s, data.item_ids))

    def features(self, histories: Histories) -> Iterator[Floats]:
        """Yield the features of all items that are served for each user, (n, f)."""
        for row in range(len(histories)):
            of_user = histories.take(np.array([row]))
            log = log_of(of_user, self._last_s, self._item_ids)
            yield self._system.features(log, self._rows)

    def ranks(self, asked: Asked, scores: Mapping[str, ByFeatures]) -> dict[str, Ranks]:
        """Return the ranks of what came next by each way of scoring, (u,) each."""
        found: dict[str, list[float]] = {name: [] for name in scores}
        for row, table in enumerate(self.features(asked.histories)):
            one = asked.take(np.array([row]))
            for name, score in scores.items():
                found[name] += ranks_of(self._of_all(score(table))[None], one).tolist()
        return {name: np.array(each) for name, each in found.items()}

    def examples(self, asked: Asked, score: ByFeatures, at_most: int) -> Iterator[Example]:
        """Yield what scores best for each user, and which of it was chosen.

        The own history is left out, and whoever chose something else: to add that would teach that
        what scores low is chosen.
        """
        for row, table in enumerate(self.features(asked.histories)):
            scores = self._of_all(score(table))
            scores[asked.histories.of(row)] = -np.inf
            scores = scores[self._served]
            first = np.argsort(-scores, kind="stable")[: min(at_most, np.isfinite(scores).sum())]
            (chosen,) = np.nonzero(np.flatnonzero(self._served)[first] == asked.targets[row])
            if len(chosen):
                yield Example(table[first], int(chosen[0]))

    def _of_all(self, scores: Floats) -> Floats:
        every = np.full(len(self._served), -np.inf, np.float32)
        every[self._served] = scores
        return every
