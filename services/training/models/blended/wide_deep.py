"""Say how probably an item comes next: Wide & Deep (Cheng et al. 2016, arXiv 1606.07792).

The wide part remembers: weights of crosses, of a user's flags with what a table says of the item,
of what it says of the last item with it, and of the last few items with the item itself, where a
pair came often enough to have a weight of its own. The deep part generalises: a recurrent net over
the history (GRU), items by number and by the content vector that a CNN and a text encoder gave
them, a perceptron above. Their contributions sum to the logit, and are fitted jointly.

Differs from the paper: AdamW fits both parts, instead of FTRL the wide one. What FTRL does for it
do a faster rate, as a pair has few steps to learn from, and dropout in place of L1.

Legend: b windows; l events of one; n events asked; r of the last of them; c candidates of each; d
dimensions; h hidden units; a flags of users; g columns of what is said of items; i items; p pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.contents import ItemContents, contents_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.data.user_attributes import UserFlags
from services.training.learn.asked_events import AskedEvents, EventsOnDevice, WindowRows
from services.training.learn.batches import equal_in_events, windows
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.learn.presets import by_preset
from services.training.models.collaborative.towers import FLAGS, rows_of_normal
from services.training.models.model import (
    Amount,
    Config,
    Count,
    Preset,
    ProbabilityModel,
    Run,
    Share,
    Size,
    Tensors,
)

AT_ONCE: Final = 8  # users whose pairs with all items stand in memory together
NO_PAIR: Final = np.iinfo(np.int64).max


class WideDeepConfig(Config, frozen=True):
    """What it can be told."""

    parts: Literal["both", "wide", "deep"] = "both"
    dim: Size = 64
    length: Size = 50  # events that the deep part sees, the newest
    hidden: tuple[Size, ...] = (128, 64)
    crossed: Count = 3  # last items that are crossed with an item
    pairs_at_least: Size = 2  # times that one item followed another so, for a weight of their own
    pair_dropout: Share = 0.5  # so that a pair that came by chance is not believed
    wide_rate: Amount = 5.0  # times the deep part's rate at which the wide part learns
    dropout: Share = 0.2
    attributes: bool = True  # whether what is known of users is taken
    negatives: Count = 4  # items drawn for each event
    batch_events: Size = 1_500  # windows × the longest of them
    training: Training = Training(epochs=30, patience=3, learning_rate=3e-3)

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """See Config.of."""
        return by_preset(cls(), preset)


class Wide(nn.Module):
    """Remembers crosses; all weights begin at nothing."""

    def __init__(
        self, items: int, flags: int, columns: int, pairs: Ints, dropout: float, rate: float
    ) -> None:
        """pairs: (p,) as `known_pairs` has them; rate: what all weights are multiplied by."""
        super().__init__()
        self.rate = rate
        self.offsets = nn.Parameter(torch.zeros(items))
        self.by_user = nn.Parameter(torch.zeros(flags, columns))
        self.by_last = nn.Parameter(torch.zeros(columns, columns))
        self.register_buffer("known", torch.from_numpy(pairs))
        self.pairs = nn.Parameter(torch.zeros(len(pairs)))
        self.dropout = nn.Dropout(dropout)

    known: Tensor

    def forward(self, flags: Tensor, last: Tensor, candidates: Tensor, columns: Tensor) -> Tensor:
        """Return logits (n, c) for flags (n, a), last items (n, r) and candidates (n, c).

        columns: (i, g) what is said of all items; last: newest first, -1 where there is none.
        """
        of_last = columns[last[:, 0]] * (last[:, :1] >= 0)
        weights = flags @ self.by_user + of_last @ self.by_last  # (n, g)
        said = torch.einsum("ng,ncg->nc", weights, columns[candidates])
        # Adam's steps are alike in size whatever the gradient: so the weights count for more.
        return self.rate * (self.offsets[candidates] + said + self.remembered(last, candidates))

    def remembered(self, last: Tensor, candidates: Tensor) -> Tensor:
        """Return the weights of pairs, (n, c): those of older items count less."""
        found = torch.zeros(candidates.shape, device=candidates.device)
        for age, before in enumerate(last.unbind(1)):
            pair = before[:, None] * len(self.offsets) + candidates
            at = torch.searchsorted(self.known, pair)
            there = (self.known[at] == pair) & (before >= 0)[:, None]
            found = found + self.dropout(self.pairs[at] * there) / (age + 1)
        return found


class Deep(nn.Module):
    """Generalises from content and the order of events."""

    def __init__(self, config: WideDeepConfig, items: int, flags: int, content: int) -> None:
        super().__init__()
        dim, first = config.dim, config.hidden[0]
        self.ids = rows_of_normal(items, dim)
        self.of_content = nn.Parameter(torch.randn(content, dim) * max(content, 1) ** -0.5)
        self.history = nn.GRU(dim, dim, batch_first=True)
        # The first layer of what stands side by side is a sum: an item's part is calculated once.
        self.of_state = nn.Linear(dim, first)
        self.of_item = nn.Linear(dim, first, bias=False)
        self.of_user = nn.Parameter(torch.zeros(flags, first))
        self.of_match = nn.Parameter(torch.zeros(first))
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(config.dropout)]
        for before, size in zip(config.hidden, config.hidden[1:], strict=False):
            layers += [nn.Linear(before, size), nn.ReLU(), nn.Dropout(config.dropout)]
        self.above = nn.Sequential(*layers, nn.Linear(config.hidden[-1], 1, bias=False))
        self.offset = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.of_match, std=first**-0.5)

    def items(self, content: Tensor) -> Tensor:
        """Return the vectors of all items, (i, d), for their content (i, ·)."""
        vectors: Tensor = self.ids.weight + content @ self.of_content
        return vectors

    def states(self, seen: Tensor) -> Tensor:
        """Return the state after each event, (b, l, d), for item vectors (b, l, d)."""
        states, _ = self.history(self.dropout(seen))
        found: Tensor = states
        return found

    def forward(self, state: Tensor, flags: Tensor, vectors: Tensor) -> Tensor:
        """Return logits (n, c) for states (n, d), flags (n, a) and item vectors (n, c, d)."""
        match = torch.matmul(vectors, state[:, :, None])[:, :, 0] * state.shape[1] ** -0.5
        hidden = (self.of_state(state) + flags @ self.of_user)[:, None] + self.of_item(vectors)
        logits: Tensor = self.above(hidden + match[:, :, None] * self.of_match)[:, :, 0]
        return logits + self.offset


class WideAndDeep(nn.Module):
    """Both parts, and what is known of users and items."""

    def __init__(
        self,
        config: WideDeepConfig,
        user_flags: Floats,  # (u + 1, a), the last of nobody
        content: Floats,  # (i, ·)
        columns: Floats,  # (i, g)
        pairs: Ints,  # (p,)
    ) -> None:
        super().__init__()
        for name, table in (("user_flags", user_flags), ("content", content), ("columns", columns)):
            self.register_buffer(name, torch.from_numpy(table))
        items, flags = len(content), user_flags.shape[1]
        self.wide = Wide(
            items, flags, columns.shape[1], pairs, config.pair_dropout, config.wide_rate
        )
        self.deep = Deep(config, items, flags, content.shape[1])
        self.counts = [config.parts != "deep", config.parts != "wide"]
        # What is drawn outnumbers what came next: to learn that first would take many steps.
        nn.init.constant_(self.deep.offset, -math.log(config.negatives))
        if not self.counts[1]:
            nn.init.constant_(self.wide.offsets, -math.log(config.negatives) / config.wide_rate)

    user_flags: Tensor
    content: Tensor
    columns: Tensor

    def parts(
        self,
        state: Tensor,  # (n, d)
        flags: Tensor,  # (n, a)
        last: Tensor,  # (n, r)
        candidates: Tensor,  # (n, c)
        vectors: Tensor,  # (i, d) of all items
    ) -> Tensor:
        """Return what the wide and the deep part add to the logit, (n, c, 2)."""
        wide, deep = self.counts
        zeros = torch.zeros(candidates.shape, device=state.device)
        found = [
            self.wide(flags, last, candidates, self.columns) if wide else zeros,
            self.deep(state, flags, vectors[candidates]) if deep else zeros,
        ]
        return torch.stack(found, 2)


class WideDeep(ProbabilityModel):
    """Crosses and a recurrent net over content, fitted jointly."""

    name = "wide-deep"
    paper = "Cheng et al. 2016, arXiv 1606.07792"
    config_type = WideDeepConfig
    on_device = True
    config: WideDeepConfig

    def __init__(
        self,
        config: WideDeepConfig | None = None,
        contents: Callable[[Dataset], ItemContents] = contents_of,
    ) -> None:
        super().__init__(config)
        self._contents = contents

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. The curve stands in `curve`."""
        config = self.config
        self._flags = UserFlags.of(data) if config.attributes else UserFlags(())
        flags = np.vstack([self._flags.table(data), np.zeros((1, len(self._flags)), np.float32)])
        contents = self._contents(data)
        with seeded(run):
            self.module = WideAndDeep(
                config,
                flags,
                contents.fused,
                contents.attributes,
                known_pairs(data, config.crossed, config.pairs_at_least),
            )
            self.module.to(run.device)
        events = EventsOnDevice(data, run.device)

        def epoch(rng: np.random.Generator) -> Collection[WindowRows]:
            found = windows(data.events, config.length + 1, rng)
            batches = equal_in_events(found.lengths, config.batch_events, rng)
            return [WindowRows(found, rows) for rows in batches]

        def loss(batch: WindowRows) -> Tensor:
            return self._loss(events.asked(batch, unknown_users=0))

        self.curve: Curve = learn(self.module, epoch, loss, self.score, config.training, run)

    def _loss(self, asked: AskedEvents) -> Tensor:
        module, shape = self.module, (len(asked.targets), self.config.negatives)
        vectors = module.deep.items(module.content)
        states = module.deep.states(vectors[asked.seen])[asked.is_asked]
        drawn = torch.randint(len(vectors), shape, device=vectors.device)
        candidates = torch.cat([asked.targets[:, None], drawn], 1)
        flags = module.user_flags[asked.users[asked.windows]]
        last = _last(asked.seen, self.config.crossed)[asked.is_asked]
        logits = module.parts(states, flags, last, candidates, vectors).sum(2)
        came_next = candidates == asked.targets[:, None]
        mean = F.binary_cross_entropy_with_logits(logits, came_next.to(logits))
        return asked.weight * mean

    def contributions(self, histories: Histories, candidates: Ints | None = None) -> Floats:
        """Return what the wide and the deep part add to each logit, (u, c, 2).

        candidates: (u, c) numbers of items; all of them if None.
        """
        module = self.module
        count = len(module.content)
        with scoring(module, self.config.training.precision) as device:
            vectors = module.deep.items(module.content)
            padded = histories.newest(self.config.length)
            every = np.broadcast_to(np.arange(count), (len(histories), count))
            asked = every if candidates is None else candidates
            found = []
            for start in range(0, len(histories), AT_ONCE):
                rows = np.arange(start, min(start + AT_ONCE, len(histories)))
                state, last = self._states(padded.take(rows), vectors)
                flags = module.user_flags[torch.from_numpy(histories.users[rows]).to(device)]
                some = torch.from_numpy(np.ascontiguousarray(asked[rows])).to(device)
                parts = module.parts(state, flags, last, some, vectors)
                found.append(parts.float().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, count, 2), np.float32)

    @property
    def negatives(self) -> int:
        """See ProbabilityModel.negatives."""
        drawn: int = self.config.negatives
        return drawn

    def probabilities(self, histories: Histories, candidates: Ints) -> Floats:
        """See ProbabilityModel.probabilities."""
        logits = self.contributions(histories, candidates).sum(2)
        chances: Floats = 1 / (1 + np.exp(-logits))
        return chances

    def _states(self, histories: Histories, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states after the last events, (u, d), and the last items, (u, r)."""
        lengths = torch.from_numpy(histories.lengths).to(vectors.device)
        longest = max(int(histories.lengths.max()), 1)
        at = np.minimum(histories.starts[:-1, None] + np.arange(longest), len(histories.items) - 1)
        seen = histories.items[at] if len(histories.items) else np.zeros(at.shape, np.int64)
        items = torch.from_numpy(seen).to(vectors.device)
        rows, newest = torch.arange(len(lengths), device=vectors.device), (lengths - 1).clamp_min(0)
        some = lengths > 0
        state = self.module.deep.states(vectors[items])[rows, newest] * some[:, None]
        last = _last(items, self.config.crossed)[rows, newest]
        return state, torch.where(some[:, None], last, -1)

    def score(self, histories: Histories) -> Floats:
        """See Model.score: logits."""
        found: Floats = self.contributions(histories).sum(2)
        return found

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {**tensors_of(self.module), FLAGS: self._flags.packed()}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        tensors = dict(tensors)
        self._flags = UserFlags.unpacked(tensors.pop(FLAGS))
        tables = (tensors[name] for name in ("user_flags", "content", "columns", "wide.known"))
        self.module = WideAndDeep(self.config, *tables)
        restore_module(self.module, tensors)


def known_pairs(data: Dataset, crossed: int, at_least: int) -> Ints:
    """Return the pairs that came so often within so many events, (p,) ascending, then NO_PAIR.

    A pair is the number of the earlier item times how many items there are, plus the later one's.
    """
    items, rows = data.events.items, data.events.rows()
    pairs = [
        (items[:-after] * data.n_items + items[after:])[rows[:-after] == rows[after:]]
        for after in range(1, crossed + 1)
    ]
    numbers, counts = np.unique(np.concatenate(pairs), return_counts=True)
    return np.append(numbers[counts >= at_least], NO_PAIR)


def _last(seen: Tensor, count: int) -> Tensor:
    """Return each event's item and those before it, (b, l, r) for (b, l), -1 before the first."""
    return F.pad(seen, (count - 1, 0), value=-1).unfold(1, count, 1).flip(2)
