"""Factorise choices by taste for what items are and by taste for how they look.

Differs from the paper: a picture's features are cut to their main directions before the learnt
projection, and fitting is by Adam. With `visual` switched off it is BPR.

Legend: u users; n items; f columns of visual features; k factors; b triples of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from services.training.content.contents import contents_of
from services.training.content.features import main_directions
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Training, learn, scoring, seeded
from services.training.learn.losses import bpr
from services.training.learn.positions import Positions
from services.training.models.content.cosine import unit
from services.training.models.model import Config, Model, Run, Size, Tensors


class VbprConfig(Config, frozen=True):
    """Sizes and weights; not tuned."""

    factors: Size = 32
    visual: bool = True
    directions: Size = 64  # f
    batch: Size = 8_192  # triples: a user, an item chosen, one that was not
    training: Training = Training(
        epochs=12, learning_rate=5e-3, weight_decay=1e-4, schedule="cosine", patience=0
    )


class _Factors(nn.Module):
    def __init__(self, users: int, visual: Tensor, known: Tensor, config: VbprConfig) -> None:
        super().__init__()
        n, columns = visual.shape
        self.register_buffer("visual", visual)  # (n, f)
        self.register_buffer("known", known)  # (n, 1) 1 where events are known
        self.users = nn.Parameter(torch.randn(users, config.factors) * 0.1)
        self.tastes = nn.Parameter(torch.randn(users, config.factors) * 0.1)
        self.items = nn.Parameter(torch.randn(n, config.factors) * 0.1)
        self.offsets = nn.Parameter(torch.zeros(n))
        self.look = nn.Linear(columns, config.factors, bias=False)
        self.appeal = nn.Linear(columns, 1, bias=False)  # of a look to everybody

    visual: Tensor
    known: Tensor

    def of_items(self) -> tuple[Tensor, Tensor]:
        """Return (n, 2 k) factors and (n,) offsets; what nobody chose has those of its look."""
        own = self.items * self.known
        offsets = self.offsets * self.known[:, 0] + self.appeal(self.visual)[:, 0]
        return torch.cat([own, self.look(self.visual)], 1), offsets


class Vbpr(Model):
    """Samples triples; whoever is not known is the mean user."""

    name = "vbpr"
    paper = "He 2016 (arXiv 1510.01784)"
    config_type = VbprConfig
    on_device = True

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        learnt = data.counts() > 0
        contents = contents_of(data)
        visual = main_directions(
            unit(contents.pictures), learnt & contents.has_picture, config.directions
        )
        if not config.visual or not visual.shape[1]:  # BPR: nothing is seen
            visual = np.zeros((data.n_items, 1), np.float32)
        candidates = torch.from_numpy(np.flatnonzero(learnt)).to(run.device)
        places = Positions(data.events, 1, data.n_items, run.device)
        with seeded(run):
            self._module = _Factors(
                data.n_users,
                torch.from_numpy(visual),
                torch.from_numpy(learnt[:, None].astype(np.float32)),
                config,
            ).to(run.device)

        def loss(batch: Tensor) -> Tensor:
            chosen, user = places.targets(batch), places.users(batch)
            drawn = torch.randint(len(candidates), (len(batch),), device=batch.device)
            other = candidates[drawn]
            factors, offsets = self._module.of_items()
            people = torch.cat([self._module.users, self._module.tastes], 1)[user]  # (b, 2 k)
            positive = (people * factors[chosen]).sum(1) + offsets[chosen]
            negative = (people * factors[other]).sum(1) + offsets[other]
            return bpr(positive, negative[:, None])

        learn(
            self._module,
            lambda rng: places.batches(rng, config.batch),
            loss,
            self.score,
            config.training,
            run,
        )

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        with scoring(self._module) as device:
            factors, offsets = self._module.of_items()
            people = torch.cat([self._module.users, self._module.tastes], 1)
            people = torch.cat([people, people.mean(0, keepdim=True)])
            users = torch.from_numpy(histories.users).to(device)
            scores: Floats = (people[users] @ factors.T + offsets).cpu().numpy()  # -1: the mean
            return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._module)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._module = _Factors(
            len(tensors["users"]),
            torch.from_numpy(tensors["visual"]),
            torch.from_numpy(tensors["known"]),
            self.config,
        )
        restore_module(self._module, tensors)
