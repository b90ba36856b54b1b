"""Attend to what came before: SASRec with the softmax over every item, and its kin.

SASRec is 1808.09781, which learns by one negative an event; by the softmax over every item it is
better by a third (2309.07602: it then beats BERT4Rec). Differs from the paper: layers are
normalised before and not after, long histories give random earlier windows, too, and weights are
averaged.
"""

from __future__ import annotations

from services.training.models.model import Count
from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.nextitem import SequentialConfig, SequentialModel


class SASRec(SequentialModel):
    """Two layers of causal attention; the cross entropy of every item."""

    name = "sasrec"
    paper = "1808.09781, the loss as in 2309.07602"


class SampledSASRecConfig(SequentialConfig, frozen=True):
    """As many negatives as did better than all of them there; here they did not."""

    loss: str = "sampled-softmax"  # type: ignore[assignment]
    negatives: Count = 3000


class SampledSASRec(SequentialModel):
    """SASRec by the softmax over 3,000 items that a window's events share."""

    name = "sasrec-sampled"
    paper = "2309.07602"
    config_type = SampledSASRecConfig


class GSASRecConfig(SequentialConfig, frozen=True):
    """256 negatives, calibration .75: the paper's own choice for MovieLens 1M."""

    loss: str = "gbce"  # type: ignore[assignment]
    negatives: Count = 256


class GSASRec(SequentialModel):
    """SASRec by the generalised binary cross entropy, whose scores are not overconfident."""

    name = "gsasrec"
    paper = "2308.07192"
    config_type = GSASRecConfig


class ESASRecConfig(SequentialConfig, frozen=True):
    """LiGR layers, 256 negatives."""

    network: NetworkConfig = NetworkConfig(block="gated", heads=2, positions="both")


class ESASRec(SequentialModel):
    """SASRec with gated layers."""

    name = "esasrec"
    paper = "2508.06450, layers of 2502.03417"
    config_type = ESASRecConfig
