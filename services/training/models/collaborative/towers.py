"""See users and items as unit vectors of one space: an item scores by its cosine to the user.

A user is a few weighted means of the vectors of what was chosen last, and what else is known of the
user, through a perceptron. Means are calculated for every event of a window at once, as weights
depend on how many events ago something was chosen and on nothing else.

Legend: b windows; l events of one; v views; t dimensions; a flags of users; n events
asked; i items.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.data.user_attributes import UserFlags
from services.training.export.tower_graphs import UserGraph, write_session_tower
from services.training.learn.asked_events import AskedEvents, EventsOnDevice, WindowRows
from services.training.learn.batches import equal_in_events, windows
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.learn.presets import by_preset
from services.training.models.model import (
    Config,
    Positive,
    Preset,
    Run,
    ServedModel,
    Share,
    Size,
    Tensors,
)

AT_ONCE: Final = 512  # histories that are scored together
WINDOW: Final = 200  # events that are asked together: what a step costs, not what it sees
FLAGS: Final = "flags"  # tensor of the names of users' flags


class TowerConfig(Config, frozen=True):
    """What both kinds of towers can be told."""

    dim: Size = 64
    length: Size = 50  # events that the user's tower sees, the newest
    views: Size = 4  # means of them, from all alike to the newest alone; 1: the plain mean of all
    hidden: tuple[Size, ...] = (256,)
    norm: Literal["none", "layer", "batch"] = "layer"  # of hidden layers
    dropout: Share = 0.2  # of hidden layers and of the history's vectors
    temperature: Positive = 0.05  # that cosines are divided by
    attributes: bool = True  # whether the user's tower takes what is known of users
    unknown_users: Share = 0.2  # share of windows whose user nothing is known of, so that both work
    batch_events: Size = 12_800  # windows × the longest of them
    training: Training = Training()

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of."""
        return by_preset(cls(), preset)


class UserTower(nn.Module):
    """Makes a user's vector from the vectors of the history and from what else is known."""

    def __init__(self, config: TowerConfig, others: int) -> None:
        super().__init__()
        self.length, self.dim = config.length, config.dim
        ages = torch.arange(config.length)
        steepness = torch.linspace(0, 1, config.views) ** 2  # 1 forgets two thirds an event
        # Logarithms of weights by events ago: learnt, but for a single view, which stays plain.
        self.ages = nn.Parameter(-steepness[:, None] * ages, requires_grad=config.views > 1)
        sizes = [config.views * config.dim + others, *config.hidden]
        norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        layers: list[nn.Module] = []
        for before, size in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, size), norms[config.norm](size), nn.ReLU()]
            layers += [nn.Dropout(config.dropout)]
        self.above = nn.Sequential(*layers, nn.Linear(sizes[-1], config.dim))
        self.dropout = nn.Dropout(config.dropout)

    def everywhere(self, vectors: Tensor) -> Tensor:
        """Return the views after each event of windows (b, l, t): (b, l, v × t)."""
        at = torch.arange(vectors.shape[1], device=vectors.device)
        ago = at[:, None] - at  # (l, l) of an event, asked after another
        seen = (ago >= 0) & (ago < self.length)
        logits = self.ages[:, ago.clamp(0, self.length - 1)].masked_fill(~seen, -torch.inf)
        views = torch.einsum("vqk,bkt->bqvt", logits.softmax(2), self.dropout(vectors))
        return views.flatten(2)

    def newest(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return the views after the last event, (b, v × t), of vectors (b, l, t), newest last.

        mask: (b, l) 1 where an event stands. A history without events has views of zeros.
        """
        ages = self.ages.flip(1)[:, -vectors.shape[1] :]
        logits = ages + (mask[:, None] - 1) * 1e4  # finite, so that an empty history is no NaN
        weights = logits.softmax(2) * mask[:, None]
        return torch.matmul(weights, vectors).flatten(1)

    def forward(self, views: Tensor, others: Tensor) -> Tensor:
        """Return unit vectors (n, t) for views (n, v × t) and what else is known (n, a)."""
        return F.normalize(self.above(torch.cat([views, others], 1)), dim=1)


class Towers(nn.Module):
    """Both towers; the user's sees the history as the item's does."""

    def __init__(self, config: TowerConfig, user_flags: Floats, extras: int) -> None:
        super().__init__()
        flags = torch.from_numpy(user_flags)  # (u + 1, a); the last is of nobody
        self.register_buffer("user_flags", flags)
        self.user = UserTower(config, flags.shape[1] + extras)

    user_flags: Tensor

    @abstractmethod
    def items(self, numbers: Tensor) -> Tensor:
        """Return the unit vectors of items (i,), (i, t)."""

    @property
    @abstractmethod
    def n_items(self) -> int:
        """Return how many items there are."""


class TowerModel(ServedModel):
    """Fits both towers on what came next."""

    on_device = True
    config: TowerConfig

    @abstractmethod
    def build(self, data: Dataset, user_flags: Floats) -> Towers:
        """Make towers for a dataset."""

    @abstractmethod
    def loss(self, queries: Tensor, asked: AskedEvents, known: Tensor, vectors: Tensor) -> Tensor:
        """Return the mean loss of queries (n, t).

        known: (i,) numbers of the items that the step has seen, ascending; vectors: theirs, (i, t).
        """

    def others(self, flags: Tensor, ages: Tensor) -> Tensor:
        """Return what the user's tower takes beside the history, (n, ·)."""
        return flags

    def step_items(self, asked: AskedEvents) -> Tensor:
        """Return the items that a step needs vectors of, ascending."""
        found: Tensor = torch.unique(torch.cat([asked.seen.flatten(), asked.in_step]))
        return found

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. The curve stands in `curve`."""
        config = self.config
        self._flags = UserFlags.of(data) if config.attributes else UserFlags(())
        flags = np.vstack([self._flags.table(data), np.zeros((1, len(self._flags)), np.float32)])
        with seeded(run):
            self.towers = self.build(data, flags).to(run.device)
        events = EventsOnDevice(data, run.device)

        def epoch(rng: np.random.Generator) -> Collection[WindowRows]:
            found = windows(data.events, WINDOW + 1, rng)
            batches = equal_in_events(found.lengths, config.batch_events, rng)
            return [WindowRows(found, rows) for rows in batches]

        def loss(batch: WindowRows) -> Tensor:
            return self.step_loss(events.asked(batch, config.unknown_users))

        self.curve: Curve = learn(self.towers, epoch, loss, self.score, config.training, run)

    def step_loss(self, asked: AskedEvents) -> Tensor:
        """Return how wrong the towers are of what came next."""
        known = self.step_items(asked)
        vectors = self.towers.items(known)
        seen = vectors[torch.searchsorted(known, asked.seen)]
        views = self.towers.user.everywhere(seen)[asked.is_asked]
        flags = self.towers.user_flags[asked.users[asked.windows]]
        queries = self.towers.user(views, self.others(flags, asked.ages))
        return asked.weight * self.loss(queries, asked, known, vectors)

    def queries(self, histories: Histories) -> Floats:
        """Return the unit vectors of users, (u, t)."""
        length = self.config.length
        with scoring(self.towers, self.config.training.precision) as device:
            vectors = self._item_vectors(device)
            padded = torch.from_numpy(histories.padded(length, -1)).to(device)
            users = torch.from_numpy(histories.users).to(device)  # -1, nobody: the last row
            found = []
            parts = zip(torch.split(padded, AT_ONCE), torch.split(users, AT_ONCE), strict=True)
            for some, who in parts:
                mask = (some >= 0).float()
                views = self.towers.user.newest(vectors[some.clamp_min(0)], mask)
                flags = self.towers.user_flags[who]
                others = self.others(flags, torch.zeros(len(who), device=device))
                found.append(self.towers.user(views, others).float().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, self.config.dim), np.float32)

    @property
    def length(self) -> int:
        """See ServedModel.length."""
        return self.config.length

    def item_vectors(self) -> Floats:
        """See ServedModel.item_vectors."""
        with scoring(self.towers, self.config.training.precision) as device:
            return np.asarray(self._item_vectors(device).float().cpu().numpy(), np.float32)

    def _item_vectors(self, device: torch.device) -> Tensor:
        return self.towers.items(torch.arange(self.towers.n_items, device=device))

    def score(self, histories: Histories) -> Floats:
        """See Model.score: cosines."""
        return self.queries(histories) @ self.item_vectors().T

    def export_session(self, path: Path) -> None:
        """See ServedModel.export_session: the user's tower where only the history is known."""
        towers = self.towers.cpu()
        with torch.no_grad():
            others = self.others(towers.user_flags[-1:], torch.zeros(1))
        graph = UserGraph(towers.user, others)
        write_session_tower(graph, self.config.length, self.config.dim, path)

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {**tensors_of(self.towers), FLAGS: self._flags.packed()}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        tensors = dict(tensors)
        self._flags = UserFlags.unpacked(tensors.pop(FLAGS))
        self.towers = self.rebuilt(tensors)
        restore_module(self.towers, tensors)

    @abstractmethod
    def rebuilt(self, tensors: Tensors) -> Towers:
        """Make towers of the shape of tensors."""


def log_share(counts: Tensor) -> Tensor:
    """Return the logarithm of each item's share of all events; of none, as if it had one."""
    return (counts.clamp_min(1) / counts.sum().clamp_min(1)).log()


def rows_of_normal(rows: int, dim: int) -> nn.Embedding:
    """Return vectors of about unit length."""
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=1 / math.sqrt(dim))
    return table
