"""A fit is what its seed and data make it, ends with its best weights, and goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from services.training.data.histories import Floats, Histories
from services.training.learn.batches import equal_in_rows
from services.training.learn.loop import CHECKPOINT, Curve, Training, learn, seeded
from services.training.models.model import RMSE, FitFailed, FitProgress, Run, Scoring

ROWS = 64
# What is learnt: y is x doubled, with noise so that dropout and the order of batches count.
X = torch.linspace(-1, 1, ROWS)[:, None]
Y = 2 * X + 0.1 * torch.sin(40 * X)


def module(seed: int = 0) -> nn.Sequential:
    with seeded(Run(seed=seed)):
        return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))


def weights(of: nn.Module) -> list[float]:
    return torch.cat([each.detach().flatten() for each in of.parameters()]).tolist()


def fit(
    of: nn.Module,
    run: Run | None = None,
    loss: Callable[[np.ndarray], Tensor] | None = None,
    **options: object,
) -> Curve:
    def squared(rows: np.ndarray) -> Tensor:
        wrong: Tensor = of(X[rows]) - Y[rows]
        return wrong.square().mean()

    def score(histories: Histories) -> Floats:
        raise AssertionError("these tests validate by what they know")

    config = Training(**{"epochs": 6, "learning_rate": 0.02, **options})  # type: ignore[arg-type]
    return learn(
        of, lambda rng: equal_in_rows(ROWS, 16, rng), loss or squared, score, config, run or Run()
    )


def validated(*figures: float) -> Callable[[Scoring], float]:
    """Return validation that finds these, one an epoch."""
    found = iter(figures)
    return lambda score: next(found)


def test_it_learns() -> None:
    of = module()
    curve = fit(of, epochs=60)
    assert curve.points[0].loss > 10 * curve.points[-1].loss
    assert not of.training


def test_one_seed_gives_one_result() -> None:
    one, two, other = module(), module(), module(1)
    assert fit(one).points[-1].loss == fit(two).points[-1].loss
    assert weights(one) == weights(two)
    fit(other, Run(seed=1))
    assert weights(one) != weights(other)


def test_a_fit_leaves_the_random_numbers_of_others_as_they_were() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3).tolist()
    torch.manual_seed(7)
    fit(module())
    assert torch.rand(3).tolist() == expected


def test_the_best_weights_are_kept_and_it_ends_when_they_are_not_bettered() -> None:
    of, short = module(), module()
    curve = fit(of, Run(validate=validated(0.1, 0.3, 0.2, 0.1, 0.1)), patience=2)
    fit(short, epochs=2)
    assert (curve.best_epoch, curve.best, curve.epochs) == (2, 0.3, 4)
    assert weights(of) == weights(short)


def test_an_error_that_validation_finds_is_best_where_it_is_least() -> None:
    of, short = module(), module()
    curve = fit(of, Run(validate=validated(0.9, 0.7, 0.8, 0.8), criterion=RMSE), patience=2)
    fit(short, epochs=2)
    assert (curve.best_epoch, curve.best, curve.epochs) == (2, 0.7, 4)
    assert weights(of) == weights(short)


def test_without_validation_the_last_weights_are_kept() -> None:
    of = module()
    curve = fit(of, patience=1)
    assert (curve.best_epoch, curve.epochs) == (0, 6)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_was_broken_off_goes_on_to_the_same_result(tmp_path: Path, average: float) -> None:
    figures = (0.1, 0.2, 0.15, 0.3, 0.2, 0.1)
    whole, broken = module(), module()
    fit(whole, Run(validate=validated(*figures)), average=average)

    fit(
        broken,
        Run(validate=validated(*figures[:3]), checkpoints=tmp_path),
        epochs=3,
        average=average,
    )
    resumed = module(5)  # its weights are of no account
    curve = fit(
        resumed, Run(validate=validated(*figures[3:]), checkpoints=tmp_path), average=average
    )

    assert weights(resumed) == weights(whole)
    assert [point.chosen_by for point in curve.points] == list(figures)


def test_a_fit_that_has_ended_is_not_done_again(tmp_path: Path) -> None:
    one, two = module(), module(3)
    fit(one, Run(checkpoints=tmp_path))
    fit(two, Run(checkpoints=tmp_path), loss=lambda rows: pytest.fail("took a step"))
    assert weights(one) == weights(two)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    fit(module(), Run(checkpoints=tmp_path))
    with pytest.raises(ValueError, match=r"training\.safetensors is of another configuration"):
        fit(module(), Run(checkpoints=tmp_path), learning_rate=0.01)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is no checkpoint"):
        fit(module(), Run(checkpoints=tmp_path))


def test_a_checkpoint_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"checkpoint .*file/training\.safetensors cannot be written"):
        fit(module(), Run(checkpoints=tmp_path / "file"))


def test_a_loss_that_is_no_number_says_where() -> None:
    of, steps = module(), iter(range(100))

    def loss(rows: np.ndarray) -> Tensor:
        value: Tensor = of(X[rows]).mean()
        return value * math.nan if next(steps) == 5 else value

    with pytest.raises(FitFailed, match="loss is nan at epoch 2, step 2"):
        fit(of, loss=loss)


def test_one_that_is_stopped_keeps_its_best_weights() -> None:
    of, short = module(), module()
    figures = [0.1, 0.1]
    run = Run(validate=lambda score: figures.pop(), stopped=lambda: not figures)
    curve = fit(of, run)
    fit(short, epochs=1)
    assert curve.epochs == 2
    assert weights(of) == weights(short)


def test_no_epoch_begins_after_the_limit() -> None:
    assert fit(module(), time_limit_s=1e-9).epochs == 0


def test_the_average_is_smoother_than_the_weights() -> None:
    plain, average = module(), module()
    fit(plain, epochs=40, learning_rate=0.2)
    fit(average, epochs=40, learning_rate=0.2, average=0.95)

    def wrong(of: nn.Module) -> float:
        with torch.no_grad():
            return float(((of(X) - Y) ** 2).mean())

    assert wrong(average) < wrong(plain)


def test_progress_tells_of_loss_and_validation() -> None:
    heard: list[tuple[float, float, dict[str, float]]] = []

    class Heard(FitProgress):
        def step(self, done: float, of: float, **figures: float) -> None:
            heard.append((done, of, figures))

    fit(module(), Run(validate=validated(0.1, 0.2), progress=Heard()), epochs=2)
    assert [done for done, _, _ in heard] == [1, 1, 2, 2]
    assert heard[-1][1] == 2
    assert heard[-1][2]["ndcg@10"] == 0.2
    assert heard[0][2].keys() == {"loss", "steps_per_s"}


def test_progress_tells_validation_only_when_it_was_asked() -> None:
    told: list[float] = []

    class Heard(FitProgress):
        def step(self, done: float, of: float, **figures: float) -> None:
            if "ndcg@10" in figures:
                told.append(figures["ndcg@10"])

    fit(module(), Run(validate=validated(0.1, 0.2), progress=Heard()), epochs=4, validate_every=2)

    assert told == [0.1, 0.2]
