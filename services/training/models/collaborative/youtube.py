"""Recommend by a perceptron over the mean of what was watched: YouTube DNN (Covington et al. 2016).

As in the paper: mean of the history's vectors, attributes and the example's age go through a
perceptron; each item is a class of a sampled softmax; what is asked is always later than what is
seen; the age is 0 where it serves. Differs from it: an item has one vector for both sides, so that
the service can make a user's from those of the index; scores are cosines; and beside the plain mean
stand means that weigh newer events more (`views`: 1 is the paper's).

Legend: n events asked; t dimensions; i items; k negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from services.training.learn.asked_events import AskedEvents
from services.training.learn.losses import full_softmax, sampled_softmax, without_hits
from services.training.models.collaborative.towers import (
    TowerConfig,
    TowerModel,
    Towers,
    rows_of_normal,
)
from services.training.models.model import Count, Tensors

AGES = 3  # columns: the age, its square and its root, as the paper feeds them


class YouTubeConfig(TowerConfig, frozen=True):
    """What it can be told."""

    # Classes of the sampled softmax that a step's events share, 0: all items, as validation on
    # MovieLens 1M has it (NDCG@10 .160 against .117 of 1,000); larger catalogues need some.
    negatives: Count = 0
    example_age: bool = True


class _ById(Towers):
    """An item's vector is learnt for its number."""

    def __init__(self, config: YouTubeConfig, user_flags: Floats, items: int) -> None:
        super().__init__(config, user_flags, AGES)
        self.ids = rows_of_normal(items, config.dim)

    def items(self, numbers: Tensor) -> Tensor:
        """See Towers.items."""
        return F.normalize(self.ids(numbers), dim=1)

    @property
    def n_items(self) -> int:
        """See Towers.n_items."""
        return self.ids.num_embeddings


class YouTubeDnn(TowerModel):
    """Mean of the history, perceptron, sampled softmax."""

    name = "youtube-dnn"
    paper = "Covington et al. 2016, Deep Neural Networks for YouTube Recommendations"
    config_type = YouTubeConfig
    config: YouTubeConfig

    def build(self, data: Dataset, user_flags: Floats) -> Towers:
        """See TowerModel.build."""
        return _ById(self.config, user_flags, data.n_items)

    def rebuilt(self, tensors: Tensors) -> Towers:
        """See TowerModel.rebuilt."""
        return _ById(self.config, tensors["user_flags"], len(tensors["ids.weight"]))

    def others(self, flags: Tensor, ages: Tensor) -> Tensor:
        """See TowerModel.others."""
        ages = ages * self.config.example_age
        return torch.cat([flags, torch.stack([ages, ages.square(), ages.sqrt()], 1)], 1)

    def step_items(self, asked: AskedEvents) -> Tensor:
        """See TowerModel.step_items: all, as any may be drawn."""
        return torch.arange(self.towers.n_items, device=asked.seen.device)

    def loss(self, queries: Tensor, asked: AskedEvents, known: Tensor, vectors: Tensor) -> Tensor:
        """See TowerModel.loss."""
        queries = queries / self.config.temperature
        count, negatives = len(vectors), self.config.negatives
        if not 0 < negatives < count:
            return full_softmax(queries, vectors, asked.targets)
        drawn = torch.randperm(count, device=known.device)[:negatives]  # (k,) all equally likely
        positive = (queries * vectors[asked.targets]).sum(1)
        # Each stands for as many as were not drawn, so that the sum is that over all items.
        negative = queries @ vectors[drawn].T + math.log(count / negatives)
        return sampled_softmax(positive, without_hits(negative, drawn, asked.targets))
