"""Factorise who chose what so that each choice stands above what was not chosen.

Legend: u users; i items of the catalogue; f factors; b triples of a batch.
"""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config, Model, Positive, Run, Size, Tensors


class BprConfig(Config, frozen=True):
    """Sizes and steps; not tuned."""

    factors: Size = 64
    epochs: Size = 30
    batch: Size = 8_192  # triples: a user, an item chosen, one that was not
    learning_rate: Positive = 0.01  # of Adam
    decay: Amount = 0.001  # of a triple's factors, as in the paper, not of all at each step


class Bpr(Model):
    """Samples triples; whoever is not known is the mean user."""

    name = "bpr"
    paper = "Rendle 2009 (arXiv 1205.2618), by Adam"
    config_type = BprConfig
    on_device = True

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        torch.manual_seed(run.seed)
        draws = torch.Generator(device=run.device).manual_seed(run.seed)
        users = torch.from_numpy(data.events.rows()).to(run.device)
        items = torch.from_numpy(data.events.items).to(run.device)
        taken = torch.zeros(data.n_users * data.n_items, dtype=torch.bool, device=run.device)
        taken[users * data.n_items + items] = True
        tables = [
            torch.normal(0, 0.1, (rows, config.factors)).to(run.device).requires_grad_()
            for rows in (data.n_users, data.n_items)
        ]
        biases = torch.zeros(data.n_items, device=run.device, requires_grad=True)
        people, things = tables
        optimizer = torch.optim.Adam([*tables, biases], config.learning_rate)
        for epoch in range(config.epochs):
            if run.stopped():
                break
            order = torch.randperm(len(items), generator=draws, device=run.device)
            for batch in torch.split(order, config.batch):
                user, chosen = users[batch], items[batch]
                other = torch.randint(
                    data.n_items, chosen.shape, generator=draws, device=run.device
                )
                kept = ~taken[user * data.n_items + other]
                user, chosen, other = user[kept], chosen[kept], other[kept]
                u, c, o = people[user], things[chosen], things[other]  # (b, f)
                gap = (u * (c - o)).sum(1) + biases[chosen] - biases[other]
                size = (u.square() + c.square() + o.square()).sum(1)
                loss = (config.decay * size - logsigmoid(gap)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            run.progress.step(epoch + 1, config.epochs, loss=loss.item())
        self._users, self._items = (table.detach().cpu().numpy() for table in tables)
        self._biases: Floats = biases.detach().cpu().numpy()

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        people = self._users[histories.users]
        people[histories.users < 0] = self._users.mean(axis=0)
        scores: Floats = people @ self._items.T + self._biases
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"users": self._users, "items": self._items, "biases": self._biases}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._users, self._items = tensors["users"], tensors["items"]
        self._biases = tensors["biases"]
