"""Show what a longer history is worth beside what it costs, in JSON; of the training environment.

    .venv-training/bin/python -m tests.bench.history_quality MODEL… [--data FOLDER] [--json FILE]

A fitted sequential model (a folder that `freshet train MODEL --out FOLDER` wrote) is asked as
`freshet evaluate` asks, but sees each user's newest 10, 20, … events alone, up to those it was
fitted for: what it would say where Redis kept no more. Own history is removed whole. Beside it:
bytes of a user's full state in Redis (tests/bench/history_bytes.py), and µs a user that scoring
takes in batches. Figures are kept by the folders' names in the JSON file, which calls may share.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from services.sessions.fold.fold import fold
from services.sessions.fold.settings import FoldSettings
from services.training.data.protocols import LEAVE_LAST_OUT, split_of
from services.training.data.read import read
from services.training.data.splits import Asked
from services.training.evaluation.measure import accuracy, answers
from services.training.evaluation.results import Results
from services.training.fits import machine
from services.training.models.model import CONFIG
from services.training.models.registry import model_type
from services.training.models.sequential.nextitem import SequentialModel
from shared.users import states
from shared.users.session_vectors import VectorSettings
from tests import servers
from tests.unit.sessions.kit import NOW_S, Log, MemoryItems

LENGTHS: Final = (10, 20, 50, 100, 200)
DIM: Final = 96  # of the day-zero space
FIGURES: Final = ("hr@10", "hr@10_interval", "ndcg@10", "ndcg@10_interval")


def loaded(folder: Path) -> SequentialModel:
    """Read a fitted sequential model. Raises OSError, ValueError."""
    name = msgspec.json.decode((folder / CONFIG).read_bytes())["model"]
    model = model_type(name).load(folder)
    if not isinstance(model, SequentialModel):
        raise ValueError(f"{folder}: must hold a sequential model, holds {name}")
    return model


def figures(model: SequentialModel, asked: Asked, length: int, seed: int) -> dict[str, Any]:
    """Return what a model reaches that sees so many events of each user."""
    found = answers(lambda histories: model.score(histories.newest(length)), asked)
    accurate = accuracy(found.ranks, seed)
    return {**{name: accurate[name] for name in FIGURES}, "score_us": found.score_us}


def state_bytes(length: int) -> int:
    """Return what Redis holds as the value of a user with so many events."""
    random, log = np.random.default_rng(0), Log()
    items = MemoryItems(random.standard_normal((length, DIM)))
    events = [log.event(row, "click", at_s=NOW_S + 60 * row) for row in range(length)]
    state, _, _ = fold(
        states.empty(), events, items, FoldSettings(vectors=VectorSettings(history=length))
    )
    return len(states.pack(state))


def main() -> int:
    """Parse the command line, measure, keep and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.history_quality", description=__doc__
    )
    parser.add_argument("models", type=Path, nargs="+", help="folders of fitted models")
    default = servers.shared_folder_path() / "data" / "ml-1m"
    parser.add_argument("--data", type=Path, default=default, help="folder that they learnt from")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    split = split_of(LEAVE_LAST_OUT, read(options.data), options.seed)
    results = Results(
        options.json,
        data=split.train.name,
        split=split.name,
        seed=options.seed,
        users=len(split.test),
        command=shlex.join(["python", "-m", "tests.bench.history_quality", *sys.argv[1:]]),
    )
    sizes = {length: state_bytes(length) for length in LENGTHS}
    for folder in options.models:
        model = loaded(folder)
        by_history = {
            str(length): {
                "bytes": sizes[length],
                "validation": figures(model, split.validation, length, options.seed),
                **figures(model, split.test, length, options.seed),
            }
            for length in LENGTHS
            if length <= model.config.network.length
        }
        told = {"model": model.name, "config": msgspec.to_builtins(model.config)}
        kept = results.add(folder.name, told, {"machine": machine("cpu"), "by_history": by_history})
        sys.stdout.write(json.dumps({folder.name: kept}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
