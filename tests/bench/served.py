"""Measure lists with a trained bundle, by what its tower weighs in the blend.

    python -m tests.bench.served BUNDLE [--name NAME] [--data FOLDER] [--json FILE]

A set is imported, folded and ranked by the functions that serve, as in tests.bench.blend. Weights
are compared by what some users chose second last. The last choice is asked for once, of all, with
the default one: `served` is the list of ten as Recommend gives it, `undiversified` the same with
diversity 0, `untrained` that of a system without the tower; `blend` ranks the whole catalogue by
the scores alone, `tower` and `covisits` by one part of them.

The bundle's tower must have learnt from nothing but the training part of the same split, as that of
`freshet train tower --data … --bundle …` has. Figures are kept by name in the JSON file, which
several calls may share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from services.ranking.models.serving_models import ServingModels
from services.ranking.recommend import recommend
from services.ranking.requests import DIVERSITY_DEFAULT
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from services.ranking.stages.blend import BlendRanker, BlendSettings
from services.training.data.protocols import LEAVE_LAST_OUT
from services.training.evaluation.measure import accuracy
from services.training.evaluation.results import Results
from services.training.fits import machine
from shared.bundles.bundle import Bundle
from tests import servers
from tests.bench.blend import (
    Imported,
    encoded,
    events_of,
    imported,
    measure,
    place_of,
    questions,
    unhurried,
)

WEIGHTS: Final = (1.0, 32.0, 64.0, 96.0, 128.0)
FIGURES: Final = ("hr@10", "hr@10_interval", "ndcg@10", "ndcg@10_interval")


class Way(NamedTuple):
    """How a list is made."""

    space: ServingSpace
    diversity: float = DIVERSITY_DEFAULT


class Answered(NamedTuple):
    """What a list was worth."""

    place: float  # of the target, from 0; infinity where it is not listed
    proposed: bool  # whether the target was among the candidates
    candidates: int


def weighing(space: ServingSpace, weight: float) -> ServingSpace:
    """Return a space whose blend has this weight for the tower."""
    ranker = BlendRanker(replace(BlendSettings(), tower=weight))
    return replace(space, ranker=ranker, fallback=ranker)


async def listed(
    served: Imported, users: Sequence[str], held_out: int, ways: Mapping[str, Way]
) -> dict[str, list[Answered]]:
    """Ask each user for a list in each way; held_out: 1 for the last event, 2 for the one before.

    Of its own history nothing is listed.
    """
    answered: dict[str, list[Answered]] = {name: [] for name in ways}
    async for question in questions(served, users, held_out):
        for name, way in ways.items():
            query = msgspec.structs.replace(question.query, diversity=way.diversity)
            made = await recommend(query, way.space, unhurried())
            candidates = made.filtered.rows
            answered[name].append(
                Answered(
                    place_of(made, question.target), question.target in candidates, len(candidates)
                )
            )
    return answered


def figures(places: Sequence[float], seed: int) -> dict[str, Any]:
    """Return hit rate and NDCG of places from 0, with their 95 % intervals."""
    found = accuracy(np.array(places), seed)
    return {name: found[name] for name in FIGURES}


def figures_of(answered: Mapping[str, Sequence[Answered]], seed: int) -> dict[str, Any]:
    """Return the same of each way, and what share of the targets was among how many candidates."""
    return {
        name: {
            **figures([each.place for each in lists], seed),
            "recall": float(np.mean([each.proposed for each in lists])),
            "candidates": float(np.mean([each.candidates for each in lists])),
        }
        for name, lists in answered.items()
    }


def main() -> int:
    """Parse the command line, choose, measure, keep and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.served", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder of a bundle with a session tower")
    default = servers.shared_folder_path() / "data" / "ml-1m"
    parser.add_argument("--data", type=Path, default=default, help="folder of MovieLens")
    parser.add_argument("--name", help="what its figures are called; default: the folder's name")
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="to compare")
    parser.add_argument("--users", type=int, default=10_000, help="measured, at most")
    parser.add_argument("--choosing", type=int, default=2_000, help="users to compare them by")
    parser.add_argument("--seed", type=int, default=0, help="of users and intervals drawn")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    began_s, bundle = time.monotonic(), Bundle.load(options.bundle)
    served = imported(
        events_of(options.data, 1.0, options.seed),
        encoded(options.data, bundle),
        RankingSettings(),
        ServingModels.load(options.bundle),
    )
    if served.space.tower is None:
        parser.error(f"{options.bundle}: must bring a session tower, brings none")
    drawn = np.random.default_rng(options.seed).permutation(sorted(served.sequences))
    users = drawn[: options.users].tolist()

    tried = {f"{weight:g}": Way(weighing(served.space, weight)) for weight in options.weights}
    choosing = users[: options.choosing]
    validation = figures_of(asyncio.run(listed(served, choosing, 2, tried)), options.seed)

    ways = {
        "served": Way(served.space),
        "undiversified": Way(served.space, diversity=0.0),
        "untrained": Way(replace(served.space, tower=None)),
    }
    test = figures_of(asyncio.run(listed(served, users, 1, ways)), options.seed)
    ranks = asyncio.run(measure(served, users, 1))
    test |= {part: figures(ranks[part], options.seed) for part in ("blend", "tower", "covisits")}
    results = Results(
        options.json,
        data=options.data.name,
        split=LEAVE_LAST_OUT,
        seed=options.seed,
        users=len(users),
        command=shlex.join(["python", "-m", "tests.bench.served", *sys.argv[1:]]),
    )
    kept = results.add(
        options.name or options.bundle.name,
        {"space": bundle.space},
        {
            "machine": machine("cpu"),
            "took_s": time.monotonic() - began_s,
            "choosing": len(choosing),
            "validation": validation,
            "weight": BlendSettings().tower,
            "test": test,
        },
    )
    sys.stdout.write(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
