"""Every sequential model learns an order that is there, from nothing later, each user alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, grouped
from services.training.evaluation.ranks import without_history
from services.training.learn.loop import Training
from services.training.models.model import Run
from services.training.models.registry import model_type
from services.training.models.sequential.network import Network, NetworkConfig
from services.training.models.sequential.nextitem import (
    SequentialConfig,
    SequentialModel,
    _Fitting,
    _Seen,
)

ITEMS = 30
SMALL = ("sasrec", "sasrec-sampled", "gsasrec", "esasrec", "hstu", "fuxi", "gru4rec", "tower")


def log(users: int = 120, seed: int = 0, planted: bool = True) -> Dataset:
    """Return histories in which each item is followed by the next number, or by any."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 14, users)
    first = np.repeat(rng.integers(0, ITEMS, users), lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    items = (first + steps) % ITEMS if planted else rng.integers(0, ITEMS, lengths.sum())
    names = tuple(map(str, range(ITEMS)))
    people = tuple(map(str, range(users)))
    times = 1_000_000 + 60 * steps
    return Dataset(
        "log", names, people, grouped(np.repeat(np.arange(users), lengths), items, users, times)
    )


def histories(*rows: list[int]) -> Histories:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int64)
    items = np.array([item for row in rows for item in row], np.int64)
    return grouped(users, items, len(rows), np.arange(len(items)))


def small(name: str, **options: object) -> SequentialModel:
    """Return the model with its own choices, small and quick."""
    kind = model_type(name)
    config = kind.config_type()
    assert isinstance(config, SequentialConfig)
    network = msgspec.structs.replace(
        config.network, dim=16, length=8, dropout=0.0, blocks=min(config.network.blocks, 2)
    )
    training = Training(epochs=80, learning_rate=0.01)
    changes: dict[str, object] = {"network": network, "training": training, "batch_events": 200}
    if config.negatives:
        changes["negatives"] = 20
    model = kind(msgspec.structs.replace(config, **changes | options))
    assert isinstance(model, SequentialModel)
    return model


def share_right(model: SequentialModel) -> float:
    """Return how often the planted next item is expected first."""
    ends = np.arange(ITEMS)
    asked = histories(*[[(end - 2) % ITEMS, (end - 1) % ITEMS, end] for end in range(ITEMS)])
    found = without_history(model.score(asked), asked).argmax(1)
    return float((found == (ends + 1) % ITEMS).mean())


@pytest.mark.parametrize("name", SMALL)
def test_a_model_learns_what_is_planted_and_loads_as_it_was_saved(
    name: str, tmp_path: Path
) -> None:
    model = small(name)
    model.fit(log(), Run())
    assert share_right(model) > 0.9

    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    asked = histories([1, 2, 3], [4], [5, 6])
    np.testing.assert_allclose(loaded.score(asked), model.score(asked), rtol=1e-5, atol=1e-6)


def test_what_is_learnt_in_bf16_is_scored_in_float32() -> None:
    training = Training(epochs=80, learning_rate=0.01, precision="bf16", average=0.9)
    model = small("fuxi", training=training)
    model.fit(log(), Run())
    assert share_right(model) > 0.9
    scores = model.score(histories([1, 2, 3]))
    assert len(np.unique(scores)) == len(np.unique(scores.astype(np.float32))) == ITEMS
    assert (torch.from_numpy(scores).bfloat16().float().numpy() != scores).any()


@pytest.mark.parametrize("name", SMALL)
def test_quick_is_said_to_end_in_half_an_hour(name: str) -> None:
    quick = model_type(name).config_type.of("quick")
    assert isinstance(quick, SequentialConfig)
    assert 0 < quick.training.time_limit_s <= 25 * 60


@pytest.mark.parametrize("name", SMALL)
def test_without_an_order_nothing_is_learnt(name: str) -> None:
    model = small(name, training=Training(epochs=5, learning_rate=0.01))
    model.fit(log(planted=False), Run())
    assert share_right(model) < 0.4


@pytest.mark.parametrize("name", SMALL)
def test_one_seed_gives_one_model(name: str) -> None:
    scores = []
    for seed in (0, 0, 1):
        model = small(name, training=Training(epochs=2))
        model.fit(log(), Run(seed=seed))
        scores.append(model.score(histories([1, 2, 3])))
    assert scores[0].tolist() == scores[1].tolist()
    assert scores[0].tolist() != scores[2].tolist()


@pytest.mark.parametrize("name", SMALL)
def test_a_users_scores_do_not_depend_on_others(name: str) -> None:
    model = small(name, training=Training(epochs=2))
    model.fit(log(), Run())
    alone = model.score(histories([1, 2, 3]))[0]
    among = model.score(histories([7], [1, 2, 3], [3, 4, 5, 6, 7, 8, 9], []))
    np.testing.assert_allclose(among[1], alone, rtol=1e-4, atol=1e-5)
    assert len(set(among[3].tolist())) == 1


@pytest.mark.parametrize("name", SMALL)
def test_only_the_newest_events_are_seen(name: str) -> None:
    model = small(name, training=Training(epochs=1))
    model.fit(log(), Run())
    newest = [4, 5, 6, 7, 8, 9, 10, 11]
    one, other = model.score(histories(newest)), model.score(histories([1, 2, 3, *newest]))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", ["softmax", "gated", "pointwise", "position", "gru"])
@pytest.mark.parametrize("positions", ["absolute", "relative", "both"])
def test_no_event_sees_a_later_one(block: str, positions: str) -> None:
    config = {"block": block, "positions": positions, "dim": 8, "length": 6, "time_buckets": 30}
    torch.manual_seed(0)
    network = Network(msgspec.convert(config, NetworkConfig), ITEMS).eval()
    items = torch.tensor([[1, 2, 3, 4, 5]])
    times = torch.tensor([[10, 20, 30, 40, 50]])
    changed, changed_times = items.clone(), times.clone()
    changed[0, 3:], changed_times[0, 3:] = 9, 4_000
    before, after = network(items, times), network(changed, changed_times)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("name", ["sasrec", "sasrec-sampled"])
def test_what_a_window_has_seen_is_no_negative_if_so_chosen(name: str) -> None:
    kept_down, passed_over = small(name, unseen_only=False), small(name)
    for model in (kept_down, passed_over):
        model.fit(log(), Run())
    assert share_right(passed_over) > 0.9

    def of_seen(model: SequentialModel) -> float:
        """Return how likely the history's own items are said to come next."""
        scores = torch.from_numpy(model.score(histories([1, 2, 3])))
        return float(scores.softmax(1)[0, [1, 2, 3]].sum())

    assert of_seen(passed_over) > of_seen(kept_down)


def test_seen_are_the_items_up_to_an_event_but_for_what_comes_next() -> None:
    windows = torch.tensor([[3, 1, 3, 0], [2, 0, 0, 0]])
    rows, columns = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 0])
    seen = _Seen(windows, 5, rows, columns, torch.tensor([1, 3, 4, 0]))
    found = [set(row.nonzero()[:, 0].tolist()) for row in seen(slice(None))]
    assert found == [{3}, {1}, {1, 3}, {2}]
    assert torch.equal(seen(slice(1, 3)), seen(slice(None))[1:3])


def test_a_window_counts_neither_what_comes_next_nor_what_it_has_seen_as_negative() -> None:
    data = log(users=3)
    model = small("sasrec-sampled", unseen_only=True, negatives=500)
    fitting = _Fitting(model.config, Network(model.config.network, ITEMS), data)
    heard: list[torch.Tensor] = []

    def loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
        heard.append(negative)
        return positive.sum()

    fitting._loss = loss
    (batch,) = fitting.epoch(np.random.default_rng(0))
    fitting.loss(batch)
    counted = heard[0].isfinite().float().mean(1)
    # Of thirty items those come to and the next: two after the first event, one more after each.
    ends = batch.lengths.cumsum(0) - batch.lengths
    assert counted[ends].tolist() == pytest.approx([28 / ITEMS] * 3, abs=0.06)
    assert (counted.diff()[ends[:-1]] < 0.03).all()


def test_times_count_where_they_are_known() -> None:
    config = NetworkConfig(positions="relative", dim=8, length=6, time_buckets=30)
    torch.manual_seed(0)
    network = Network(config, ITEMS).eval()
    for block in network.encoder.children():
        torch.nn.init.normal_(block.relations.by_time)  # type: ignore[union-attr, arg-type]
    items = torch.tensor([[1, 2, 3]])
    near = network(items, torch.tensor([[10, 20, 30]]))
    far = network(items, torch.tensor([[10, 20, 90_000]]))
    assert not torch.allclose(near[:, 2], far[:, 2])
