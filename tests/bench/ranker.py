"""Fit a ranker over the live features and measure it: `python -m tests.bench.ranker --help`. JSON.

Needs the environment of training. A set is imported, folded and ranked as in tests.bench.blend. The
ranker learns from what each user chose second last, among what the blend puts first then, and is
measured on the last event: the whole catalogue less the own history, ties at the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.ranking.recommend import recommend
from services.ranking.settings import RankingSettings
from services.ranking.stages.blend import BlendSettings
from services.training.models.blended.ranker import AdditiveRanker, Example
from shared.bundles.bundle import Bundle
from shared.bundles.candidates import NAMES
from tests import servers
from tests.bench.blend import (
    Imported,
    encoded,
    events_of,
    figures,
    imported,
    questions,
    rank_of,
    ranked_all,
    unhurried,
)

CANDIDATES: Final = 500  # of an example, and of the timed call
CALLS: Final = 200


class Described(NamedTuple):
    """All that a user could be shown, as the ranker sees it, and what was chosen."""

    features: NDArray[np.float32]  # (n, f)
    scores: NDArray[np.float32]  # (n,) by the blend
    chosen: int  # row


async def described(
    served: Imported, users: Sequence[str], held_out: int
) -> AsyncIterator[Described]:
    """Yield each user's catalogue before the held-out event; 1 is the last, 2 the one before."""
    async for question in questions(served, users, held_out):
        made = await recommend(question.query, served.space, unhurried())
        ranked = await ranked_all(made.input, served.space)
        kept = ~np.isin(ranked.rows, question.seen) | (ranked.rows == question.target)
        at = int(np.flatnonzero(ranked.rows[kept] == question.target)[0])
        yield Described(ranked.features[kept], ranked.scores[kept], at)


def among_first(all_of: Described) -> Example | None:
    """Return what the blend puts first; None where the target is not there.

    To add it would teach that what the blend puts last is chosen.
    """
    first = np.argsort(-all_of.scores, kind="stable")[:CANDIDATES]
    at = np.flatnonzero(first == all_of.chosen)
    return Example(all_of.features[first], int(at[0])) if len(at) else None


async def measure(
    served: Imported, users: Sequence[str]
) -> tuple[AdditiveRanker, dict[str, object]]:
    """Fit on what was chosen second last; return the ranker and the figures of the last."""
    ranker = AdditiveRanker(NAMES)
    examples = [among_first(each) async for each in described(served, users, 2)]
    ranker.fit(filter(None, examples), prior=asdict(BlendSettings()))
    ranks: dict[str, list[float]] = {"blend": [], "ranker": []}
    async for each in described(served, users, 1):
        ranks["blend"].append(rank_of(each.chosen, each.scores))
        ranks["ranker"].append(rank_of(each.chosen, ranker.score(each.features)))
    return ranker, {name: figures(places) for name, places in ranks.items()}


def microseconds(model: Path) -> float:
    """Return the median time of one call for 500 candidates, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    table = np.random.default_rng(0).random((CANDIDATES, len(NAMES)), np.float32)
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        session.run(None, {"features": table})
        taken.append(time.perf_counter() - began)
    return float(np.median(taken) * 1e6)


def main() -> int:
    """Parse the command line, fit, measure, print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ranker", description=__doc__)
    data = servers.shared_folder_path() / "data" / "ml-100k"
    parser.add_argument("--data", type=Path, default=data, help="folder of MovieLens")
    parser.add_argument("--bundle", default="deploy/models/day-zero", help="folder of the bundle")
    parser.add_argument("--users", type=int, default=10_000, help="measured, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the users drawn")
    parser.add_argument("--out", type=Path, required=True, help="folder for the ranker")
    options = parser.parse_args()
    events = events_of(options.data, 1.0, options.seed)
    movies = encoded(options.data, Bundle.load(options.bundle))
    served = imported(events, movies, RankingSettings())
    drawn = np.random.default_rng(options.seed).permutation(sorted(served.sequences))
    users = drawn[: options.users].tolist()
    ranker, measured = asyncio.run(measure(served, users))
    ranker.save(options.out)
    ranker.export(options.out / "ranker.onnx")
    shown = {
        "set": options.data.name,
        "seed": options.seed,
        "users": len(users),
        "us_for_500": round(microseconds(options.out / "ranker.onnx"), 1),
        **measured,
    }
    sys.stdout.write(json.dumps(shown) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
