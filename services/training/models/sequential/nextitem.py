"""Learn which item comes next from the order of events: what all sequential models share.

Legend: b windows; l events; n events asked; k negatives; i items.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, Self

import msgspec
import numpy as np
import torch
from torch import Tensor

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.learn.batches import equal_in_events, windows
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.distributed import share
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.learn.losses import (
    LOSSES,
    Loss,
    full_softmax,
    generalised,
    without_hits,
)
from services.training.models.model import Amount, Config, Count, Model, Preset, Run, Size, Tensors
from services.training.models.sequential.network import Network, NetworkConfig

SCORED_AT_ONCE = 256  # histories


class SequentialConfig(Config, frozen=True):
    """What every sequential model can be told."""

    network: NetworkConfig = NetworkConfig()
    loss: Literal["softmax", "sampled-softmax", "gbce", "bce", "bpr", "bpr-max"] = "softmax"
    negatives: Count = 0  # that the events of a window share; the softmax over every item has none
    popular_negatives: Amount = 0.0  # power of popularity that they are drawn by, 0: all alike
    calibration: Amount = 0.75  # of gBCE: 0 as BCE, 1 as if every item were a negative
    # Whether items that a window has come to before are passed over as negatives: lists leave them
    # out, so that nothing need be learnt to keep them down. Worth .01 of NDCG on MovieLens 1M.
    unseen_only: bool = True
    batch_events: Size = 12_800  # windows × the longest of them
    earlier: Amount = 1.0  # random windows for each `length` events before the newest
    training: Training = Training(
        epochs=200, validate_every=2, patience=20, average=0.998, warm_up=100, precision="tf32"
    )

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of: less precise, and 25 minutes of epochs at most."""
        chosen = cls()
        if preset == "full":
            return chosen
        quick = msgspec.structs.replace(chosen.training, precision="bf16", time_limit_s=25 * 60)
        return msgspec.structs.replace(chosen, training=quick)


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows of about equal length: where they begin in all events, and how long they are."""

    starts: Tensor  # (b,)
    lengths: Tensor  # (b,) events that are asked what comes next, at least 1
    longest: int
    asked: int  # sum of lengths
    weight: float  # of their mean loss, where several processes share a step


class SequentialModel(Model):
    """Fits a network on windows of histories, every event of which is asked what comes next."""

    config_type = SequentialConfig
    on_device = True
    config: SequentialConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. The curve stands in `curve`."""
        with seeded(run, 0):
            self._network = Network(self.config.network, data.n_items).to(run.device)
        fitting = _Fitting(self.config, self._network, data)
        self.curve: Curve = learn(
            self._network, fitting.epoch, fitting.loss, self.score, self.config.training, run
        )

    def score(self, histories: Histories) -> Floats:
        """See Model.score; of a history without events every item has the same score."""
        with scoring(self._network, self.config.training.precision):
            vectors = self._network.item_vectors().float()
            return self._of_queries(histories, len(vectors), lambda queries: queries @ vectors.T)

    def queries(self, histories: Histories) -> Floats:
        """Return what is asked after each history, (u, d): zeros after one without events."""
        with scoring(self._network, self.config.training.precision):
            return self._of_queries(histories, self.config.network.dim, lambda queries: queries)

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._network)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._network = Network(self.config.network, len(tensors["items.weight"]))
        restore_module(self._network, tensors)

    def _of_queries(
        self, histories: Histories, columns: int, made: Callable[[Tensor], Tensor]
    ) -> Floats:
        """Return what is made of the queries, (u, columns), some at a time."""
        found = np.zeros((len(histories), columns), np.float32)
        # Of about equal length, so that little is padded; a row is the same whatever stands beside.
        order = np.argsort(-histories.lengths, kind="stable")
        order = order[histories.lengths[order] > 0]
        for start in range(0, len(order), SCORED_AT_ONCE):
            rows = order[start : start + SCORED_AT_ONCE]
            newest = self._after_newest(histories.take(rows))
            with torch.autocast(newest.device.type, enabled=False):  # else many would be equal
                found[rows] = made(self._network.queries(newest).float()).cpu().numpy()
        return found

    def _after_newest(self, histories: Histories) -> Tensor:
        """Return what the network makes of each history's newest event, (u, d)."""
        some = histories.newest(self.config.network.length)
        device = self._network.items.weight.device
        starts, lengths = _on(some.starts[:-1], device), _on(some.lengths, device)
        columns = torch.arange(int(some.lengths.max()), device=device)
        at = (starts[:, None] + columns).clamp_max(len(some.items) - 1)
        times = None if some.times_s is None else _on(some.times_s, device)[at]
        hidden = self._network(_on(some.items, device)[at], times)
        newest: Tensor = hidden[torch.arange(len(some), device=device), lengths - 1]
        return newest


class _Fitting:
    """Holds the events where the network is, so that a step needs nothing but numbers of rows."""

    def __init__(self, config: SequentialConfig, network: Network, data: Dataset) -> None:
        self._config, self._network, self._events = config, network, data.events
        self._device = network.items.weight.device
        self._items = _on(data.events.items, self._device)
        has_times = data.events.times_s is not None and config.network.time_buckets > 0
        self._times_s = (
            _on(data.events.times_s, self._device)
            if has_times and data.events.times_s is not None
            else None
        )
        counts = data.counts().astype(np.float32)
        self._popularity = torch.from_numpy(counts**config.popular_negatives).to(self._device)
        self._loss = _loss(config, data.n_items)

    def epoch(self, rng: np.random.Generator) -> Collection[WindowBatch]:
        """Return an epoch's batches."""
        config = self._config
        # One event more than is seen: that which comes next.
        found = windows(self._events, config.network.length + 1, rng, config.earlier)
        asked = found.lengths - 1
        rows = equal_in_events(asked, config.batch_events, rng)
        shares = [share(asked[each]) for each in rows]
        rows = [each[own] for each, (own, _) in zip(rows, shares, strict=True)]
        order = np.concatenate(rows) if rows else np.empty(0, np.int64)
        sizes = [len(each) for each in rows]
        starts = torch.split(_on(found.starts[order], self._device), sizes)
        lengths = torch.split(_on(asked[order], self._device), sizes)
        return [
            WindowBatch(start, length, int(asked[each].max()), int(asked[each].sum()), weight)
            for start, length, each, (_, weight) in zip(starts, lengths, rows, shares, strict=True)
        ]

    def loss(self, batch: WindowBatch) -> Tensor:
        """Return how wrong the network is of what follows each event of the windows."""
        return batch.weight * self._mean_loss(batch)

    def _mean_loss(self, batch: WindowBatch) -> Tensor:
        columns = torch.arange(batch.longest, device=self._device)
        at = (batch.starts[:, None] + columns).clamp_max(len(self._items) - 1)  # (b, l)
        items = self._items[at]
        times_s = None if self._times_s is None else self._times_s[at]
        queries = self._network.queries(self._network(items, times_s))  # (b, l, d)
        # Where real events stand, by sizes known here, so that the device is not waited for.
        before = batch.lengths.cumsum(0) - batch.lengths
        rows = torch.arange(len(batch.starts), device=self._device)
        rows = rows.repeat_interleave(batch.lengths, output_size=batch.asked)  # (n,)
        columns = torch.arange(batch.asked, device=self._device) - before[rows]
        asked = rows * batch.longest + columns
        targets = self._items[batch.starts[rows] + columns + 1]
        seen = None
        if self._config.unseen_only:
            seen = _Seen(items, len(self._popularity), rows, columns, targets)
        vectors = self._network.item_vectors()
        if self._loss is None:
            return full_softmax(queries.flatten(0, 1)[asked], vectors, targets, seen)
        drawn = self._drawn(len(items))  # (b, k)
        scores = queries @ vectors[drawn].transpose(1, 2)  # (b, l, k)
        negative = scores.flatten(0, 1)[asked].float()  # (n, k)
        negative = without_hits(negative, drawn[rows], targets)
        if seen is not None:
            negative = negative.masked_fill(seen(slice(None)).gather(1, drawn[rows]), -torch.inf)
        positive = (queries.flatten(0, 1)[asked] * vectors[targets]).sum(1).float()
        return self._loss(positive, negative)

    def _drawn(self, rows: int) -> Tensor:
        """Return negatives of each window, (b, k): drawn anew for each, so that they err apart."""
        negatives = self._config.negatives
        if not self._config.popular_negatives:
            return torch.randint(len(self._popularity), (rows, negatives), device=self._device)
        drawn = torch.multinomial(self._popularity, rows * negatives, replacement=True)
        return drawn.view(rows, negatives)


class _Seen:
    """Says which items the windows have come to by the events asked, for each: (n, i)."""

    def __init__(
        self, items: Tensor, n_items: int, rows: Tensor, columns: Tensor, targets: Tensor
    ) -> None:
        """Take windows (b, l), and of events asked (n,) rows, columns and what came next."""
        self._rows, self._columns, self._targets = rows, columns, targets
        length = items.shape[1]
        # (b, i) the column at which an item stands first, `length` if nowhere
        self._first = torch.full((len(items), n_items), length, device=items.device)
        at = torch.arange(length, device=items.device).expand_as(items)
        self._first.scatter_reduce_(1, items, at, "amin")

    def __call__(self, part: slice) -> Tensor:
        """Return them for some of the events; what came next is not among them, if seen."""
        seen = self._first[self._rows[part]] <= self._columns[part, None]
        return seen.scatter_(1, self._targets[part, None], False)


def _loss(config: SequentialConfig, items: int) -> Loss | None:
    """Return the loss of positives and negatives, None for the softmax over every item."""
    if config.loss == "softmax":
        return None
    if config.loss in ("gbce", "bce"):
        calibration = config.calibration if config.loss == "gbce" else 0.0
        return generalised(config.negatives, items, calibration)
    return LOSSES[config.loss]


def _on(numbers: Ints, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(device)
