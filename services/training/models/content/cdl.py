"""Learn what contents mean and who chose what together: collaborative deep learning.

A denoising autoencoder's middle is where an item's factors are drawn to, so an item that nobody
chose yet has the factors that its content says. Differs from the paper: the weights of choices are
those of implicit feedback (Hu 2008), dropout in place of salt noise, and users are folded in from
their histories, so that one who is new is served alike.

Legend: u users; i items; f columns of features; k factors.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.contents import contents_of
from services.training.content.features import features_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.learn.loop import Training, learn, seeded
from services.training.models.model import (
    Amount,
    Config,
    Model,
    Positive,
    Run,
    Share,
    Size,
    Tensors,
)


class CdlConfig(Config, frozen=True):
    """Sizes and weights; not tuned."""

    factors: Size = 64
    hidden: Size = 128
    noise: Share = 0.3  # share of features that the encoder does not see
    confidence: Amount = 10.0  # of a choice, beside 1 of what was not chosen
    user_weight: Amount = 10.0  # λ_u: of factors' squares
    item_weight: Amount = 100.0  # λ_v: of how far factors stand from what content says
    reconstruction: Amount = 0.1  # λ_n beside λ_v: of what the autoencoder does not give back
    rounds: Size = 6  # of factors, then autoencoder
    epochs: Size = 60  # of the autoencoder a round; each is one step over all items
    learning_rate: Positive = 3e-3


class _DenoisingAutoencoder(nn.Module):
    def __init__(self, features: int, config: CdlConfig) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Dropout(config.noise),
            nn.Linear(features, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.factors),
        )
        self.decoder = nn.Sequential(
            nn.GELU(),
            nn.Linear(config.factors, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, features),
        )


class Cdl(Model):
    """Alternates closed-form factors and steps of the autoencoder, as the paper does."""

    name = "cdl"
    paper = "Wang 2015 (arXiv 1409.2944)"
    config_type = CdlConfig
    on_device = True

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        learnt = data.counts() > 0
        inputs = torch.from_numpy(features_of(contents_of(data), learnt)).to(run.device)
        known = torch.from_numpy(learnt).to(run.device)
        chosen = _chosen(data.events, data.n_items)
        by_item = chosen.T.tocsr()
        with seeded(run) as rng:
            network = _DenoisingAutoencoder(inputs.shape[1], config).to(run.device)
            users = rng.normal(0, 0.1, (data.n_users, config.factors))
        items = said = np.zeros((data.n_items, config.factors))
        for number in range(config.rounds):
            if run.stopped():
                break
            items = _solved(by_item, users, said, config.item_weight, config.confidence)
            users = _solved(
                chosen, items, np.zeros_like(users), config.user_weight, config.confidence
            )
            wanted = torch.from_numpy(items.astype(np.float32)).to(run.device)
            self._teach(network, inputs, wanted, known, run, number)
            with torch.inference_mode():
                said = network.encoder(inputs).double().cpu().numpy()
            run.progress.step(number + 1, config.rounds)
        # What nobody chose has no row in the sums: its factors are what its content says.
        self._items = np.where(learnt[:, None], items, said).astype(np.float32)

    def _teach(
        self,
        network: _DenoisingAutoencoder,
        inputs: Tensor,
        wanted: Tensor,
        known: Tensor,
        run: Run,
        number: int,
    ) -> None:
        config = self.config
        scale = wanted[known].square().mean().clamp(min=1e-9)

        def loss(_: int) -> Tensor:
            middle = network.encoder(inputs[known])
            given_back = network.decoder(middle)
            apart = F.mse_loss(middle, wanted[known]) / scale
            total: Tensor = apart + config.reconstruction * F.mse_loss(given_back, inputs[known])
            return total

        training = Training(
            epochs=config.epochs, learning_rate=config.learning_rate, weight_decay=0.01
        )
        alone = Run(seed=run.seed + number, device=run.device, stopped=run.stopped)
        learn(network, lambda _: [0], loss, self.score, training, alone)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        config, items = self.config, self._items.astype(np.float64)
        users = _solved(
            _chosen(histories, len(items)),
            items,
            np.zeros((len(histories), items.shape[1])),
            config.user_weight,
            config.confidence,
        )
        scores: Floats = (users @ items.T).astype(np.float32)
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"items": self._items}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._items = tensors["items"]


def _chosen(histories: Histories, n_items: int) -> sparse.csr_matrix:
    shape = (len(histories), n_items)
    ones = np.ones(len(histories.items))
    found = sparse.csr_matrix((ones, (histories.rows(), histories.items)), shape)
    found.data[:] = 1
    return found


def _solved(
    chosen: sparse.csr_matrix,  # (rows, columns) 1 where chosen
    others: np.ndarray,  # (columns, k)
    around: np.ndarray,  # (rows, k) where factors are drawn to
    weight: float,
    confidence: float,
) -> np.ndarray:
    """Return the factors (rows, k) that explain the choices best, given those of the others."""
    factors = others.shape[1]
    everywhere = others.T @ others + weight * np.eye(factors)
    solved = np.empty_like(around)
    for row in range(chosen.shape[0]):
        some = others[chosen.indices[chosen.indptr[row] : chosen.indptr[row + 1]]]
        matrix = everywhere + confidence * some.T @ some
        wanted = (1 + confidence) * some.sum(axis=0) + weight * around[row]
        solved[row] = np.linalg.solve(matrix, wanted)
    return solved
