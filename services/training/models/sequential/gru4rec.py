"""Carry one state from event to event: GRU4Rec as its authors' official PyTorch version.

1511.06939 and 1706.03847; the official version by the settings that 2307.14956 finds that copies
lack: item vectors that are the output's, too ("constrained embedding"), dropout on what comes in
and goes out, and, where there are negatives, that they are shared and drawn by a power of
popularity. Differs from it: whole windows of a history are learnt at once, AdamW in place of
Adagrad.
"""

from __future__ import annotations

from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig, SequentialModel


class GRU4RecConfig(SequentialConfig, frozen=True):
    """Cross entropy over every item; `loss="bpr-max"` with 2,048 negatives is the other choice."""

    network: NetworkConfig = NetworkConfig(block="gru", blocks=1, dim=128)


class GRU4Rec(SequentialModel):
    """One layer of gated recurrent units: a service can advance its state by one event."""

    name = "gru4rec"
    paper = "1511.06939, 1706.03847, 2307.14956"
    config_type = GRU4RecConfig
