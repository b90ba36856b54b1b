"""Score candidates as the running system does: by the blend's weights, or by a bundle's ranker.

Legend: n candidates; f features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from services.ranking.models import onnx_ranker
from services.ranking.stages import blend
from services.training.data.histories import Floats
from shared.bundles.candidates import NAMES
from shared.bundles.ranker import BadRanker
from shared.inputs.refusals import BadInput
from shared.scored_item import ScoredItem

APART_AT_MOST: Final = 1e-3  # a model's sums may differ in their last bits between machines

Score = Callable[[Floats], Floats]


def scoring_of(item: ScoredItem) -> Score:
    """Return what scores rows of features (n, f), for this item's user.

    Raises BadInput for a model that cannot be read, and where another score comes of the item's
    own features than ranking gave it.
    """
    if item.names != NAMES:
        raise BadInput("ranking is of another release: its features are not those known here")
    score = _by_blend(item) if item.weights is not None else _by_model(item)
    found = float(score(np.array([item.values], np.float32))[0])
    if abs(found - item.score) > APART_AT_MOST:
        raise BadInput(
            f"{item.item_id}: ranking's score is {item.score:.4f}, what is explained gives"
            f" {found:.4f}: was another model published meanwhile?"
        )
    return score


def _by_blend(item: ScoredItem) -> Score:
    weights = np.array(item.weights, np.float32)
    return lambda rows: blend.contributions(rows, weights).sum(axis=1)


def _by_model(item: ScoredItem) -> Score:
    try:
        ranker = onnx_ranker.load(Path(item.ranker_file))
    except BadRanker as error:
        raise BadInput(f"{item.ranker_file}: {error}") from None
    if ranker.name != item.ranker:
        raise BadInput(f"ranking scores by {item.ranker}; {item.ranker_file} is {ranker.name}")
    return lambda rows: ranker.score(rows, item.attributes).sum(axis=1)
