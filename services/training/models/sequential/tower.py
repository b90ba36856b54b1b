"""See a session and items as unit vectors of one space, as a service asks an index for them.

FuXi-beta's layers over vectors (SASRec's and GRU4Rec's by configuration): what it is told of a
history is the items' vectors alone, and what it says is a vector whose cosine with an item's is the
score (a learnt temperature stays behind in training). So an item that came after training takes
part by a vector made of its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from services.training.data.histories import Floats
from services.training.export.session_graph import write_session
from services.training.models.model import ServedModel
from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig, SequentialModel

BLOCKS: Final = ("position", "softmax", "gru")  # that are written as a graph


class SessionTowerConfig(SequentialConfig, frozen=True):
    """Short enough for a service's history, small enough for 150 microseconds a user."""

    network: NetworkConfig = NetworkConfig(
        block="position",
        heads=8,
        length=50,
        positions="both",
        temperature=0.05,
        learn_temperature=True,
    )

    def __post_init__(self) -> None:
        """Refuse a network that no service runs with a ValueError."""
        network = self.network
        if network.block not in BLOCKS or not network.temperature or network.time_buckets:
            raise ValueError(
                f"a session tower has layers of {', '.join(BLOCKS)}, a temperature and no time "
                f"buckets, was {network.block}, {network.temperature:g}, {network.time_buckets}"
            )


class SessionTower(SequentialModel, ServedModel):
    """Two layers of positions by cosines, which a service runs."""

    name = "tower"
    paper = "2508.10615, cosines as in 2402.17152"
    config_type = SessionTowerConfig

    @property
    def length(self) -> int:
        """See ServedModel.length."""
        return self.config.network.length

    def item_vectors(self) -> Floats:
        """See ServedModel.item_vectors."""
        with torch.no_grad():
            found: Floats = self._network.item_vectors().float().cpu().numpy()
        return found

    def export_session(self, path: Path) -> None:
        """See ServedModel.export_session."""
        write_session(self._network, path)
