"""See a session and items as unit vectors of one space, as a service asks an index for them.

FuXi-beta's layers over vectors: what it is told of a history is the items' vectors alone, and what
it says is a vector whose cosine with an item's is the score (a learnt temperature stays behind in
training). So an item that came after training takes part by a vector made of its content.
"""

from __future__ import annotations

from pathlib import Path

import torch

from services.training.data.histories import Floats
from services.training.export.session_graph import write_session
from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig, SequentialModel
from shared.bundles.bundle import SESSION


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


class SessionTower(SequentialModel):
    """Two layers of positions by cosines, which a service runs."""

    name = "tower"
    paper = "2508.10615, cosines as in 2402.17152"
    config_type = SessionTowerConfig

    def item_vectors(self) -> Floats:
        """Return (i, t): each item's unit vector."""
        with torch.no_grad():
            found: Floats = self._network.item_vectors().float().cpu().numpy()
        return found

    def export_session(self, folder: Path) -> None:
        """Write session.onnx: `items` (b, l, t) and `mask` (b, l) → `query` (b, t)."""
        write_session(self._network, folder / SESSION)
