"""Metrics are those of ranx, which was written independently."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from services.training.data.histories import grouped
from services.training.data.splits import Asked
from services.training.evaluation import metrics
from services.training.evaluation.metrics import RankedTargets
from services.training.evaluation.ranks import Ranks, ranks_of

USERS, ITEMS = 40, 60
NAMES = {
    "hit_rate": metrics.hit_rates,
    "recall": metrics.recalls,
    "ndcg": metrics.ndcgs,
    "mrr": metrics.reciprocal_ranks,
    "map": metrics.average_precisions,
}
CHANCE = np.random.default_rng(0)
SCORES = CHANCE.permuted(np.tile(np.arange(ITEMS, dtype=np.float32), (USERS, 1)), axis=1)


Evaluate = Callable[[list[list[int]], list[list[int]], str], list[float]]


@pytest.fixture(scope="module")
def by_ranx() -> Iterator[Evaluate]:
    """Return what ranx makes of targets and of the items that are ranked, by SCORES."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("numba.config.DISABLE_JIT", True)  # to compile it would take two minutes
        warnings.simplefilter("ignore")  # its own
        from ranx import Qrels, Run, evaluate

        def values(targets: list[list[int]], ranked: list[list[int]], metric: str) -> list[float]:
            relevant = {
                f"{row:03}": {str(item): 1 for item in each} for row, each in enumerate(targets)
            }
            run = {
                f"{row:03}": {str(item): float(SCORES[row, item]) for item in each}
                for row, each in enumerate(ranked)
            }
            found = evaluate(Qrels(relevant), Run(run), metric, return_mean=False)
            return [float(value) for value in found]

        yield values


@pytest.mark.parametrize("at", [1, 10])
@pytest.mark.parametrize(("name", "metric"), NAMES.items())
def test_metrics_of_several_targets_are_those_of_ranx(
    by_ranx: Evaluate, name: str, metric: Callable[[RankedTargets, int], Ranks], at: int
) -> None:
    targets = [CHANCE.choice(ITEMS, size, replace=False).tolist() for size in [1, 2, 5, 20] * 10]
    rows = np.repeat(np.arange(USERS), [len(each) for each in targets])
    order = np.argsort(np.argsort(-SCORES, axis=1), axis=1)
    ranks = order[rows, np.concatenate(targets)].astype(np.float64)

    ours = metric(RankedTargets(ranks, rows, USERS), at)

    theirs = by_ranx(targets, [list(range(ITEMS))] * USERS, f"{name}@{at}")
    assert ours.tolist() == pytest.approx(theirs)


def test_the_whole_protocol_is_that_of_ranx_on_lists_without_the_history(by_ranx: Evaluate) -> None:
    histories = grouped(
        np.repeat(np.arange(USERS), 5),
        np.concatenate([CHANCE.choice(ITEMS // 2, 5, replace=False) for _ in range(USERS)]),
        USERS,
    )
    targets = CHANCE.integers(ITEMS // 2, ITEMS, USERS)

    ranks = ranks_of(SCORES, Asked(histories, targets))

    others = [sorted(set(range(ITEMS)) - set(histories.of(row).tolist())) for row in range(USERS)]
    theirs = by_ranx([[target] for target in targets.tolist()], others, "ndcg@10")
    ours = metrics.ndcgs(RankedTargets.one_each(ranks), 10)
    assert ours.tolist() == pytest.approx(theirs)
