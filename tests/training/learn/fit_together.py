"""Fit a model on a planted log and write its tensors: what torchrun starts in several processes.

Arguments: the model's name, the folder to write to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import torch

from services.training.learn.distributed import is_first
from services.training.learn.loop import Training
from services.training.models.collaborative.two_tower import TwoTower, TwoTowerConfig
from services.training.models.model import Model, Run
from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig
from services.training.models.sequential.sasrec import SASRec
from tests.training.models.planted import contents, log

TRAINING = Training(epochs=3, learning_rate=0.01)
WINDOWS = {"batch_events": 120, "training": TRAINING}


def model(name: str) -> Model:
    """Return it without dropout, which each process draws for itself."""
    if name == "two-tower":
        config = TwoTowerConfig(dim=8, length=8, hidden=(16,), item_hidden=8, dropout=0.0)
        return TwoTower(msgspec.structs.replace(config, **WINDOWS), contents)
    network = NetworkConfig(dim=8, length=8, dropout=0.0)
    return SASRec(msgspec.structs.replace(SequentialConfig(network=network), **WINDOWS))


def fitted(name: str) -> Model:
    """Fit it; what is validated is counted, so that the best epoch is one in between."""
    epochs = iter([0.1, 0.2, 0.1])
    some = model(name)
    some.fit(log(41), Run(validate=lambda score: next(epochs)))
    return some


def main() -> None:
    torch.set_num_threads(1)
    name, folder = sys.argv[1:]
    found = fitted(name)
    if is_first():
        found.save(Path(folder))


if __name__ == "__main__":
    main()
