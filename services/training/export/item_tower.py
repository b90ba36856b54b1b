"""Learn where in a tower's space an item belongs by its content, for items never seen.

The rows that events taught are what it is fitted to (as CLCRec and DropoutNet map content to
collaborative vectors, 1706.08184); a service uses those rows for the items that have one.

Legend: m items; v views of each item's content; d content dimensions; t tower dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.data.histories import Floats, Ints
from services.training.learn.batches import equal_in_rows
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.models.model import COSINE, Config, Positive, Run, Share, Size

HELD_OUT: Final = 0.1  # share of items that it is chosen by


class ItemTowerConfig(Config, frozen=True):
    """How content is mapped."""

    width: Size = 256
    dropout: Share = 0.3  # there are few items and many weights
    temperature: Positive = 0.1  # of the softmax by which a row is told from the others
    batch: Size = 256
    training: Training = Training(
        epochs=200, patience=20, weight_decay=0.05, betas=(0.9, 0.999), average=0.99
    )


class ContentTower(nn.Module):
    """Two layers, unit vectors in and out."""

    def __init__(self, content: int, tower: int, config: ItemTowerConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(content, config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, tower),
        )

    def forward(self, content: Tensor) -> Tensor:
        """Return (n, t) for contents (n, d)."""
        return F.normalize(self.layers(content), dim=1)


def fit_item_tower(
    contents: Floats,  # (v, m, d) views: text with picture, text alone, picture alone …, or (m, d)
    rows: Floats,  # (m, t) unit vectors that events taught
    config: ItemTowerConfig,
    run: Run,
) -> tuple[ContentTower, Curve]:
    """Return what maps content to the rows, and what its fit came to.

    Each step sees an item in one of its views, drawn at random (modality dropout), so that an item
    without a picture is mapped as well. Views of zeros are those that an item has not. Chosen by
    how near it comes to the rows of items that are held out.
    """
    views = torch.from_numpy(contents if contents.ndim == 3 else contents[None])
    views, targets = views.float().to(run.device), torch.from_numpy(rows).float().to(run.device)
    with seeded(run, 0) as rng:
        tower = ContentTower(views.shape[2], rows.shape[1], config).to(run.device)
        order = rng.permutation(len(rows))
    held = order[: int(HELD_OUT * len(rows))]
    known = order[len(held) :]
    has_view = (views != 0).any(2).float().T + 1e-9  # (m, v)

    def loss(batch: Ints) -> Tensor:
        some = torch.from_numpy(known[batch]).to(run.device)
        view = torch.multinomial(has_view[some], 1)[:, 0]
        found: Tensor = tower(views[view, some])
        scores = found @ targets[some].T / config.temperature
        told_apart = F.cross_entropy(scores, torch.arange(len(some), device=run.device))
        return told_apart + (1 - (found * targets[some]).sum(1)).mean()

    def nearness(_: object) -> float:
        with scoring(tower):
            return float((tower(views[0, held]) * targets[held]).sum(1).mean())

    curve = learn(
        tower,
        lambda drawn: equal_in_rows(len(known), config.batch, drawn),
        loss,
        _no_scores,
        config.training,
        replace(run, validate=nearness if len(held) else None, criterion=COSINE),
    )
    return tower, curve


def _no_scores(_: object) -> Floats:
    raise AssertionError("an item tower is chosen by how near it comes, not by scores")
