"""Learn posters, texts and behaviour at once: a CNN, a transformer and a network, end to end.

An item's vector is what its poster and its words say; the query is what a network makes of the
newest choices. One loss reaches all three. The networks are small and begin from nothing, so that
they are fitted in minutes; what pretrained encoders add is what `dropoutnet` shows.

Legend: b places of a batch; c items among them; s pixels of a side; l words; k newest choices;
t columns of a vector.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.small_inputs import small_pictures, words_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Training, learn, scoring, seeded
from services.training.learn.positions import Positions
from services.training.models.model import (
    Config,
    FitFailed,
    Model,
    Positive,
    Run,
    Share,
    Size,
    Tensors,
    check_heads,
)

AT_ONCE = 512  # items that go through the networks together, when asked


class MovieConfig(Config, frozen=True):
    """Sizes, and which of the three take part: what each is worth is told by leaving it out."""

    poster: bool = True
    text: bool = True
    behaviour: bool = True  # without it everybody gets one list
    side: Size = 64  # s, pixels
    words: Size = 24  # l
    channels: tuple[Size, ...] = (16, 32, 64, 64)  # of the CNN's layers, each halves the side
    width: Size = 64  # t
    layers: Size = 2  # of the transformer
    heads: Size = 2
    newest: Size = 20  # k
    dropout: Share = 0.2
    temperature: Positive = 0.05
    batch: Size = 512
    share: Positive = 0.05  # of all places in an epoch
    training: Training = Training(
        epochs=6, learning_rate=2e-3, weight_decay=0.01, schedule="cosine", warm_up=50, patience=0
    )

    def __post_init__(self) -> None:
        check_heads("width", self.width, self.heads)


class PosterNetwork(nn.Module):
    """Maps (c, s, s, 3) uint8 to (c, t)."""

    def __init__(self, config: MovieConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for taken, given in zip((3, *config.channels), config.channels, strict=False):
            layers += [nn.Conv2d(taken, given, 3, 2, 1), nn.GroupNorm(4, given), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.exit = nn.Linear(config.channels[-1], config.width)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        y: Tensor = self.exit(self.layers(x))
        return y


class TextNetwork(nn.Module):
    """Maps (c, l) numbers of words, 0 where there are no more, to (c, t)."""

    def __init__(self, words: int, config: MovieConfig) -> None:
        super().__init__()
        width = config.width
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(config.words, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, "gelu", batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.exit = nn.Linear(width, width)

    def forward(self, words: Tensor) -> Tensor:
        """See the class."""
        there = words > 0
        alone = torch.arange(words.shape[1], device=words.device) > 0  # one place is always seen
        x = self.layers(self.words(words) + self.places, src_key_padding_mask=~there & alone)
        counted = there[:, :, None].to(x.dtype)
        y: Tensor = self.exit((counted * x).sum(1) / counted.sum(1).clamp(min=1))
        return y


class BehaviourNetwork(nn.Module):
    """Maps the newest choices (b, k), which n fills up, to queries (b, t)."""

    def __init__(self, items: int, config: MovieConfig) -> None:
        super().__init__()
        width = config.width
        self.items = nn.Embedding(items + 1, width, padding_idx=items)
        nn.init.normal_(self.items.weight[:-1], std=0.1)
        self.recency = nn.Parameter(-0.2 * torch.arange(config.newest, 0, -1.0))
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, newest: Tensor) -> Tensor:
        """See the class."""
        there = (newest < self.items.num_embeddings - 1).float()[:, :, None]
        chosen = self.items(newest)
        weights = (self.recency[:, None] + (there - 1) * 1e9).softmax(1) * there
        mean = chosen.sum(1) / there.sum(1).clamp(min=1)
        y: Tensor = self.layers(torch.cat([(weights * chosen).sum(1), mean], 1))
        return y


class MovieNetworks(nn.Module):
    """All three; what is left out is not there."""

    def __init__(self, items: int, words: int, config: MovieConfig) -> None:
        super().__init__()
        self.poster = PosterNetwork(config) if config.poster else None
        self.text = TextNetwork(words, config) if config.text else None
        self.behaviour = BehaviourNetwork(items, config) if config.behaviour else None
        self.everybody = nn.Parameter(torch.randn(config.width) * 0.02)

    def items(self, pictures: Tensor, words: Tensor) -> Tensor:
        """Return (c, t) unit rows."""
        parts = [
            network(seen)
            for network, seen in ((self.poster, pictures), (self.text, words))
            if network is not None
        ]
        return F.normalize(torch.stack(parts).sum(0), dim=1)

    def queries(self, newest: Tensor) -> Tensor:
        """Return (b, t) unit rows."""
        asked = self.everybody.expand(len(newest), -1)
        if self.behaviour is not None:
            asked = asked + self.behaviour(newest)
        return F.normalize(asked, dim=1)


class MovieModel(Model):
    """Learns by a softmax among a batch's items, corrected for how often each is drawn."""

    name = "movie"
    paper = "the mission's example; softmax of a batch: Yi 2019 (RecSys)"
    config_type = MovieConfig
    on_device = True

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. Raises FitFailed where neither poster nor text takes part."""
        config = self.config
        if not (config.poster or config.text):
            raise FitFailed("poster or text must take part: nothing else tells items apart")
        counts = data.counts()
        table, n_words = words_of(data, counts > 0, config.words)
        words = torch.from_numpy(table).to(run.device)
        looked_at = data if config.poster else replace(data, pictures={})  # decoding takes a minute
        pictures = torch.from_numpy(small_pictures(looked_at, config.side)).to(run.device)
        shares = np.maximum(counts, 1) / max(counts.sum(), 1)
        log_shares = torch.from_numpy(np.log(shares).astype(np.float32)).to(run.device)
        places = Positions(data.events, config.newest, data.n_items, run.device)
        with seeded(run):
            module = MovieNetworks(data.n_items, n_words, config).to(run.device)

        def loss(batch: Tensor) -> Tensor:
            some, column = torch.unique(places.targets(batch), return_inverse=True)
            items = module.items(pictures[some], words[some])  # (c, t)
            scores = module.queries(places.context(batch)) @ items.T / config.temperature
            return F.cross_entropy(scores - log_shares[some], column)

        learn(
            module,
            lambda rng: places.batches(rng, config.batch, config.share),
            loss,
            self.score,
            config.training,
            replace(run, validate=None),  # every item would go through the networks each epoch
        )
        with scoring(module):
            rows = torch.split(torch.arange(data.n_items, device=run.device), AT_ONCE)
            items = torch.cat([module.items(pictures[some], words[some]) for some in rows])
        self._kept = _KeptMovies(items, data.n_items, config).to(run.device)
        self._kept.take(module)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        with scoring(self._kept) as device:
            newest = histories.padded(self.config.newest, len(self._kept.vectors))
            queries = self._kept.networks.queries(torch.from_numpy(newest).to(device))
            scores: Floats = (queries @ self._kept.vectors.T).cpu().numpy()
            return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._kept)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        vectors = torch.from_numpy(tensors["vectors"])
        self._kept = _KeptMovies(vectors, len(vectors), self.config)
        restore_module(self._kept, tensors)


class _KeptMovies(nn.Module):
    """What scoring needs: the items' vectors, and the side that asks."""

    def __init__(self, vectors: Tensor, items: int, config: MovieConfig) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors.clone())  # (n, t)
        asking = msgspec.structs.replace(config, poster=False, text=False)
        self.networks = MovieNetworks(items, 0, asking)

    vectors: Tensor

    def take(self, module: MovieNetworks) -> None:
        """Take the asking side of networks that were fitted."""
        own = self.networks.state_dict()
        self.networks.load_state_dict({name: module.state_dict()[name] for name in own})
