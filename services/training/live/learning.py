"""Learn a ranker from what users chose among the live system's candidates, and measure it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from services.ranking.models.onnx_ranker import OnnxRanker
from services.ranking.stages import blend
from services.ranking.stages.blend import BlendSettings
from services.training.content.contents import ItemContents
from services.training.data.histories import Floats
from services.training.data.splits import Split
from services.training.evaluation.ranks import Ranks
from services.training.live.scoring import ByFeatures, LiveScoring
from services.training.models.blended.ranker import AdditiveRanker
from services.training.models.model import FitProgress
from services.training.models.registry import RANKER
from shared.bundles.bundle import Bundle
from shared.bundles.candidates import NAMES
from shared.bundles.ranker import opened_ranker
from shared.inputs.refusals import BadInput

BLEND: Final = "blend"  # as it would serve the same bundle
WITHOUT_TOWER: Final = "day zero"  # the blend without what was trained
CANDIDATES: Final = 500  # of an example: as many as ranking ranks
CALLS: Final = 200  # that are timed
USERS_AT_MOST: Final = 2_000  # whose choices are learnt from: 200 kB each while it is fitted


@dataclass(frozen=True, slots=True)
class LearntRanker:
    """A ranker, and the ranks of what came next by it and by what it is compared with."""

    ranker: AdditiveRanker
    ranks: dict[str, Ranks]  # of the split's test, by RANKER, BLEND, WITHOUT_TOWER


def learn_ranker(
    split: Split,
    base: Path,
    contents: ItemContents,
    settings: BlendSettings,
    seed: int,
    progress: FitProgress,
) -> LearntRanker:
    """Fit a ranker to choices of the validation, among what the blend puts first.

    base: the bundle that it is for, whose encoders gave the contents; settings: the blend's, with
    which the ranker begins. Raises BadBundle, and BadInput where no choice can be learnt from.
    """
    live = LiveScoring(split.train, _last_s(split), contents, Bundle.load(base))
    progress.step(1, 4)
    by_blend = _by(settings)
    drawn = np.random.default_rng(seed).permutation(len(split.validation))[:USERS_AT_MOST]
    asked = split.validation.take(np.sort(drawn))
    examples = list(live.examples(asked, by_blend, CANDIDATES))
    progress.step(2, 4)
    ranker = AdditiveRanker(NAMES)
    try:
        ranker.fit(examples, prior=asdict(settings))
    except ValueError as error:
        raise BadInput(f"{split.train.name}: {error}") from None
    progress.step(3, 4)
    scores = {
        RANKER: ranker.score,
        BLEND: by_blend,
        WITHOUT_TOWER: _by(replace(settings, tower=0.0)),
    }
    ranks = live.ranks(split.test, scores)
    progress.step(4, 4)
    return LearntRanker(ranker, ranks)


def score_us(bundle: Bundle) -> float:
    """Return the median µs that a bundle's ranker takes for CANDIDATES, as ranking asks it."""
    ranker = OnnxRanker(opened_ranker(bundle))
    table = np.random.default_rng(0).random((CANDIDATES, len(NAMES)), np.float32)
    taken_s = []
    for _ in range(CALLS):
        began_s = time.perf_counter()
        ranker.score(table)
        taken_s.append(time.perf_counter() - began_s)
    return float(np.median(taken_s) * 1e6)


def _by(settings: BlendSettings) -> ByFeatures:
    weights = blend.weights(settings)

    def score(table: Floats) -> Floats:
        scores: Floats = blend.contributions(table, weights).sum(axis=1)
        return scores

    return score


def _last_s(split: Split) -> int:
    """Return the time of the last event that anybody is known by, 0 where only orders are known."""
    known = [split.train.events, split.validation.histories, split.test.histories]
    return max(
        (int(one.times_s.max()) for one in known if one.times_s is not None and len(one.times_s)),
        default=0,
    )
