"""Model what a user and an item have to do with each other: a product, a perceptron, or both.

Neural collaborative filtering (He et al. 2017, arXiv 1708.05031) holds that a perceptron finds more
than a product; Rendle et al. 2020 (arXiv 2005.09683) that a product, fitted with care, finds more
than the perceptron. Both are here, so that one table shows both.

Differs from the papers: all weights are fitted by AdamW, NeuMF from nothing rather than from GMF
and MLP fitted before; ranked among all items, not among a hundred.

Legend: b pairs; u users; i items; f factors.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.learn.batches import equal_in_rows
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.learn.presets import by_preset
from services.training.models.model import (
    Amount,
    Config,
    Count,
    Model,
    Preset,
    Run,
    Share,
    Size,
    Tensors,
)

INITIAL: Final = 0.1  # standard deviation of factors at first; a perceptron alone begins with more
AT_ONCE: Final = 16  # users whose pairs with all items stand in memory together


class NcfConfig(Config, frozen=True):
    """What the three of He et al. can be told."""

    factors: Size = 32  # that are summed up; the perceptron begins with four times as many
    dropout: Share = 0.0  # of the perceptron's layers
    negatives: Count = 4  # drawn for each event
    pull: Amount = 0.0  # L2 of the factors of what is looked up, by event
    batch: Size = 4096  # events
    training: Training = Training(
        epochs=30, learning_rate=2e-3, betas=(0.9, 0.999), clip=0, patience=5
    )

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of."""
        return by_preset(cls(), preset)


class DotConfig(NcfConfig, frozen=True):
    """As Rendle et al. fit it: more factors, more negatives, pulled towards zero."""

    factors: Size = 128
    negatives: Count = 8
    pull: Amount = 0.005


class _Pairs(nn.Module):
    """Scores pairs; row u of the users stands for one whom nobody knows."""

    def __init__(self, users: int, items: int, factors: int, dropout: float, *, kind: str) -> None:
        super().__init__()
        self.product = kind in ("gmf", "neumf", "dot")
        self.perceptron = kind in ("mlp", "neumf")
        self.item_offsets = nn.Parameter(torch.zeros(items), requires_grad=kind == "dot")
        if self.product:
            self.users = nn.Embedding(users + 1, factors)
            self.items = nn.Embedding(items, factors)
            self.weigh = nn.Parameter(torch.ones(factors), requires_grad=kind != "dot")
        if self.perceptron:
            self.user_inputs = nn.Embedding(users + 1, 2 * factors)
            self.item_inputs = nn.Embedding(items, 2 * factors)
            # The first layer of what stands side by side is a sum of two: an item's part is
            # calculated once for all users.
            self.of_user = nn.Linear(2 * factors, 2 * factors)
            self.of_item = nn.Linear(2 * factors, 2 * factors, bias=False)
            self.above = nn.Sequential(
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(2 * factors, factors),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(factors, 1),
            )
        for each in self.modules():
            if isinstance(each, nn.Embedding):
                nn.init.normal_(each.weight, std=INITIAL if self.product else factors**-0.5)

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of pairs, (b, k), of users (b,) and items (b, k), and their L2, ()."""
        scores, pull = self.item_offsets[items], torch.zeros((), device=items.device)
        if self.product:
            of_user, of_items = self.users(users), self.items(items)
            scores = scores + ((of_user * self.weigh)[:, None] * of_items).sum(2)
            pull = pull + of_user.square().sum(1).mean() + of_items.square().sum(2).mean()
        if self.perceptron:
            of_user, of_items = self.user_inputs(users), self.item_inputs(items)
            hidden = self.of_user(of_user)[:, None] + self.of_item(of_items)
            scores = scores + self.above(hidden)[:, :, 0]
            pull = pull + of_user.square().sum(1).mean() + of_items.square().sum(2).mean()
        return scores, pull

    def all_items(self, users: Tensor) -> Tensor:
        """Return the scores of users (b,) with every item, (b, i)."""
        scores = self.item_offsets.expand(len(users), -1)
        if self.product:
            scores = scores + (self.users(users) * self.weigh) @ self.items.weight.T
        if self.perceptron:
            of_items = self.of_item(self.item_inputs.weight)
            hidden = self.of_user(self.user_inputs(users))[:, None] + of_items
            scores = scores + self.above(hidden)[:, :, 0]
        return scores

    @torch.no_grad()
    def know_strangers(self) -> None:
        """Let the row of the unknown user be the mean of the known ones."""
        for name in ("users", "user_inputs"):
            if hasattr(self, name):
                table = getattr(self, name).weight
                table[-1] = table[:-1].mean(0)


class _Ncf(Model):
    config_type = NcfConfig
    on_device = True
    config: NcfConfig
    paper = "He et al. 2017, arXiv 1708.05031"

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        events = data.events
        with seeded(run):
            self._module = self._pairs(data.n_users, data.n_items).to(run.device)
        users = torch.from_numpy(events.users[events.rows()]).to(run.device)
        items = torch.from_numpy(events.items).to(run.device)

        def epoch(rng: np.random.Generator) -> Collection[Ints]:
            return equal_in_rows(len(events.items), config.batch, rng)

        def loss(batch: Ints) -> Tensor:
            at = torch.from_numpy(batch).to(run.device)
            drawn = torch.randint(data.n_items, (len(at), config.negatives), device=run.device)
            scores, pull = self._module(users[at], torch.cat([items[at, None], drawn], 1))
            told = -F.logsigmoid(scores[:, 0]) + F.softplus(scores[:, 1:]).sum(1)
            mean: Tensor = told.mean() + config.pull * pull
            return mean

        curve = learn(self._module, epoch, loss, self.score, config.training, run)
        self.curve: Curve = curve
        self._module.know_strangers()

    def score(self, histories: Histories) -> Floats:
        """See Model.score. By the user's number alone: what was not learnt from tells nothing."""
        module = self._module
        with scoring(module) as device:
            users = torch.from_numpy(histories.users).to(device)
            users = torch.where(users < 0, self._strangers(), users)
            parts = [module.all_items(some).cpu().numpy() for some in torch.split(users, AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _strangers(self) -> int:
        table = self._module.users if self._module.product else self._module.user_inputs
        return int(table.num_embeddings) - 1

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._module)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        table = tensors.get("users.weight", tensors.get("user_inputs.weight"))
        if table is None:
            raise ValueError(f"{self.name} needs tensors of users, there are none")
        self._module = self._pairs(len(table) - 1, len(tensors["item_offsets"]))
        restore_module(self._module, tensors)

    def _pairs(self, users: int, items: int) -> _Pairs:
        config = self.config
        return _Pairs(users, items, config.factors, config.dropout, kind=self.name)


class Gmf(_Ncf):
    """Generalised matrix factorisation: a product of factors, each with a weight."""

    name = "gmf"


class Mlp(_Ncf):
    """A perceptron over both side by side."""

    name = "mlp"


class NeuMf(_Ncf):
    """The two before, summed."""

    name = "neumf"


class Dot(_Ncf):
    """A product of more factors with offsets of items, pulled towards zero."""

    name = "dot"
    paper = "Rendle et al. 2020, arXiv 2005.09683"
    config_type = DotConfig
