"""Weigh each past event on its own, by what and how far back it is: HSTU and FuXi-beta.

HSTU is 2402.17152, FuXi-beta 2508.10615, which leaves queries and keys away. Both by cosines over a
temperature and relative positions, and relative times where the data has them. Differs from the
papers: weights are divided by how many events came before, not by the length that is padded to;
FuXi's times stand in buckets that double instead of in a learnt power; every item is a negative but
those that a window has come to.
"""

from __future__ import annotations

from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig, SequentialModel


class HSTUConfig(SequentialConfig, frozen=True):
    """Pointwise attention."""

    network: NetworkConfig = NetworkConfig(
        block="pointwise", blocks=4, positions="both", temperature=0.05, time_buckets=128
    )


class HSTU(SequentialModel):
    """Pointwise attention with a gate, cosines over a temperature, relative positions and times."""

    name = "hstu"
    paper = "2402.17152"
    config_type = HSTUConfig


class FuXiConfig(SequentialConfig, frozen=True):
    """No queries and keys."""

    network: NetworkConfig = NetworkConfig(
        block="position",
        blocks=4,
        heads=8,
        positions="both",
        temperature=0.05,
        time_buckets=128,
    )


class FuXi(SequentialModel):
    """Positions and times in place of queries and keys, a feed-forward with a gate."""

    name = "fuxi"
    paper = "2508.10615"
    config_type = FuXiConfig
