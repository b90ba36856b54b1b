"""Rebuild what a user chose from what is shown of it: Mult-DAE and Mult-VAE (Liang et al. 2018).

As in arXiv 1802.05814: one hidden layer of 600 on each side of 200 codes, the input of unit length
with half of it dropped, a multinomial likelihood, and for the VAE a divergence whose weight rises
to .2. Beyond it, by configuration: events may fade by age in the input, and what is rebuilt may be
the next few events after a random cut instead of all; both are off, as in the paper, by default.

Legend: b users; i items; e events.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
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

AT_ONCE = 512  # users that are scored together


class AutoencoderConfig(Config, frozen=True):
    """What both can be told."""

    hidden: Size = 600
    codes: Size = 200
    dropout: Share = 0.5  # of what is shown
    half_life: Amount = 0.0  # events after which one counts half in the input, 0: none fades
    ahead: Count = 0  # events after a random cut that are rebuilt from those before it, 0: all
    batch: Size = 256  # users
    training: Training = Training(
        epochs=200, learning_rate=1e-3, betas=(0.9, 0.999), weight_decay=0.01, patience=20
    )

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of."""
        return by_preset(cls(), preset)


class VaeConfig(AutoencoderConfig, frozen=True):
    """What the variational one can be told beyond."""

    divergence: Amount = 0.2  # the most that it weighs
    rises_for: Count = 2_000  # steps until it does


class _Autoencoder(nn.Module):
    """Makes codes of users, a variational one their mean and the logarithm of their variance."""

    def __init__(self, items: int, config: AutoencoderConfig, *, variational: bool) -> None:
        super().__init__()
        self.items, self.variational = items, variational
        self.shown = nn.Dropout(config.dropout)
        self.encode = nn.Sequential(
            nn.Linear(items, config.hidden),
            nn.Tanh(),
            nn.Linear(config.hidden, config.codes * (1 + variational)),
        )
        self.decode = nn.Sequential(
            nn.Linear(config.codes, config.hidden), nn.Tanh(), nn.Linear(config.hidden, items)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    steps: Tensor

    def forward(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (b, i) for what is shown (b, i), and the divergence, ()."""
        codes = self.encode(self.shown(F.normalize(shown, dim=1)))
        if not self.variational:
            return self.decode(codes), codes.new_zeros(())
        mean, log_variance = codes.chunk(2, 1)
        diverges = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(mean), diverges


class _Rebuilding(Model):
    paper = "Liang et al. 2018, arXiv 1802.05814"
    on_device = True
    config: AutoencoderConfig
    variational: bool

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        with seeded(run):
            self._module = self._autoencoder(data.n_items).to(run.device)
        there = np.flatnonzero(data.events.lengths > (1 if config.ahead else 0))
        histories = data.events.take(there)

        def epoch(rng: np.random.Generator) -> Collection[tuple[Histories, Histories]]:
            return [
                self._cut(histories.take(rows), rng)
                for rows in equal_in_rows(len(there), config.batch, rng)
            ]

        def loss(batch: tuple[Histories, Histories]) -> Tensor:
            shown, rebuilt = batch
            logits, diverges = self._module(self._shown(shown, run.device))
            targets = _bag(rebuilt, np.ones(len(rebuilt.items), np.float32), logits)
            told = (logits.log_softmax(1) * targets).sum(1)
            if config.ahead:
                told = told / targets.sum(1)
            self._module.steps += 1
            total: Tensor = diverges * self._divergence() - told.mean()
            return total

        curve = learn(self._module, epoch, loss, self.score, config.training, run)
        self.curve: Curve = curve

    def _cut(self, histories: Histories, rng: np.random.Generator) -> tuple[Histories, Histories]:
        """Return what is shown of each and what is to be rebuilt."""
        ahead = self.config.ahead
        if not ahead:
            return histories, histories
        lengths = histories.lengths
        at = 1 + np.floor(rng.random(len(histories)) * (lengths - 1)).astype(np.int64)
        until = histories.first(at + ahead)
        return histories.first(at), until.newest(until.lengths - at)

    def _divergence(self) -> Tensor:
        if not isinstance(self.config, VaeConfig):
            return self._module.steps.new_zeros(())
        risen = (self._module.steps / self.config.rises_for).clamp_max(1)
        return self.config.divergence * risen

    def _shown(self, histories: Histories, device: torch.device | str) -> Tensor:
        ago = histories.starts[1:][histories.rows()] - 1 - np.arange(len(histories.items))
        half_life = self.config.half_life
        weights = 0.5 ** (ago / half_life) if half_life else np.ones(len(ago))
        empty = torch.zeros(len(histories), self._items(), device=device)
        return _bag(histories, weights.astype(np.float32), empty)

    def score(self, histories: Histories) -> Floats:
        """See Model.score: logits."""
        found = [np.empty((0, self._items()), np.float32)]
        with scoring(self._module, self.config.training.precision) as device:
            for start in range(0, len(histories), AT_ONCE):
                some = histories.take(np.arange(start, min(start + AT_ONCE, len(histories))))
                logits, _ = self._module(self._shown(some, device))
                found.append(logits.float().cpu().numpy())
        return np.concatenate(found)

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._module)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._module = self._autoencoder(tensors["encode.0.weight"].shape[1])
        restore_module(self._module, tensors)

    def _items(self) -> int:
        return self._module.items

    def _autoencoder(self, items: int) -> _Autoencoder:
        return _Autoencoder(items, self.config, variational=self.variational)


class MultDae(_Rebuilding):
    """The denoising one."""

    name = "mult-dae"
    config_type = AutoencoderConfig
    variational = False


class MultVae(_Rebuilding):
    """The variational one."""

    name = "mult-vae"
    config_type = VaeConfig
    variational = True


def _bag(histories: Histories, weights: Floats, like: Tensor) -> Tensor:
    """Return (b, i): of each item the largest weight of its events, 0 of others."""
    cells = histories.rows() * like.shape[1] + histories.items
    bag, at = torch.zeros_like(like).flatten(), torch.from_numpy(cells).to(like.device)
    return bag.scatter_reduce(0, at, torch.from_numpy(weights).to(like), "amax").view_as(like)
