"""Fit a module's weights in epochs of steps: seeded, chosen by validation, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from services.training.learn import distributed
from services.training.learn.checkpoints import read_checkpoint, write_checkpoint
from services.training.models.model import (
    Amount,
    Config,
    Count,
    FitFailed,
    Positive,
    Run,
    Scoring,
    Share,
    Size,
)

Batch = TypeVar("Batch")
Weights = dict[str, Tensor]

CHECKPOINT: Final = "training.safetensors"
LOOK_EVERY: Final = 20  # steps between looks at the loss: each waits for the device


class Training(Config, frozen=True):
    """How weights are fitted, whatever the model."""

    epochs: Size = 100
    learning_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.98)  # the second as SASRec's authors choose it
    weight_decay: Amount = 0.0  # of matrices, not of offsets and scales
    warm_up: Count = 0  # steps in which the rate rises from nothing
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to nothing at the end
    clip: Amount = 5.0  # the most that the gradient's norm may be, 0: whatever it is
    validate_every: Size = 1  # epochs
    patience: Count = 10  # epochs without a better validation before it ends, 0: never
    average: Share = (
        0.0  # share of its past that the running average of weights keeps a step, 0: none
    )
    time_limit_s: Amount = 0.0  # after which no epoch begins, 0: none
    # bf16 and tf32 calculate products with 8 and 10 bits of fraction; sums and weights stay whole
    precision: Literal["float32", "tf32", "bf16"] = "float32"


class Point(msgspec.Struct, frozen=True):
    """What one epoch came to."""

    epoch: int  # from 1
    loss: float  # mean of its steps
    chosen_by: float | None  # the run's criterion, where validation was asked
    seconds: float  # since the fit began, those before it was resumed too


class Curve(msgspec.Struct):
    """What a fit came to, epoch by epoch."""

    points: list[Point] = []
    steps: int = 0
    best_epoch: int = 0  # whose weights are kept, 0: none was chosen by validation
    best: float = 0.0  # of the run's criterion

    @property
    def epochs(self) -> int:
        """Return how many epochs are done."""
        return len(self.points)


@contextmanager
def seeded(run: Run, *path: int) -> Iterator[np.random.Generator]:
    """Let PyTorch draw by the run's seed meanwhile, and yield what else is drawn by.

    path: numbers that tell draws apart, as an epoch's.
    """
    sequence = np.random.SeedSequence([run.seed, *path])
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
        yield np.random.default_rng(sequence)


@contextmanager
def scoring(module: nn.Module, precision: str = "float32") -> Iterator[torch.device]:
    """Switch dropout and gradients off meanwhile, and yield where the module lives."""
    was_training = module.training
    module.eval()
    try:
        device = next(module.parameters()).device
        with torch.inference_mode(), _precision(precision, device):
            yield device
    finally:
        module.train(was_training)


def learn(
    module: nn.Module,
    epoch: Callable[[np.random.Generator], Collection[Batch]],  # an epoch's batches, in their order
    loss: Callable[[Batch], Tensor],  # () mean over the batch
    score: Scoring,  # what validation asks, with the weights of then
    config: Training,
    run: Run,
) -> Curve:
    """Fit the module, which stands on the run's device, and leave it with the best weights.

    Best by the run's validation; the last ones where it has none. An epoch draws by seed and
    number, so that a fit that is resumed goes on as if it had not ended. Raises FitFailed for a
    loss that is no number, and a checkpoint of another module; OSError where none can be written.
    """
    return _Fit(module, config, run).through(epoch, loss, score)


class _Fit:
    def __init__(self, module: nn.Module, config: Training, run: Run) -> None:
        distributed.join()
        self._module, self._config, self._run = module, config, run
        self._parameters: list[Tensor] = [
            each for each in module.parameters() if each.requires_grad
        ]
        matrices = [each for each in self._parameters if each.ndim > 1]
        others = [each for each in self._parameters if each.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )
        self._average = [each.detach().clone() for each in self._parameters]
        self._best: Weights = {}
        self._curve = Curve()
        self._seconds_before = 0.0
        self._began = time.monotonic()

    def through(
        self,
        epoch: Callable[[np.random.Generator], Collection[Batch]],
        loss: Callable[[Batch], Tensor],
        score: Scoring,
    ) -> Curve:
        self._resume()
        self._module.train()
        while not self._ended():
            with seeded(self._run, self._curve.epochs + 1) as rng:
                mean_loss = self._epoch(epoch(rng), loss)
            if mean_loss is None:
                break  # stopped
            self._choose(mean_loss, score)
            self._keep()
        with torch.no_grad():
            if self._best:
                self._module.load_state_dict(self._best)
            elif self._config.average:
                self._swap_average()
        self._module.eval()
        return self._curve

    def _ended(self) -> bool:
        curve, config = self._curve, self._config
        waited = curve.epochs - curve.best_epoch
        return (
            curve.epochs >= config.epochs
            or (0 < config.patience <= waited and curve.best_epoch > 0)
            or distributed.any_of(0 < config.time_limit_s <= self._seconds())
            or distributed.any_of(self._run.stopped())
        )

    def _epoch(self, batches: Collection[Batch], loss: Callable[[Batch], Tensor]) -> float | None:
        """Take an epoch's steps; return its mean loss, None where it was stopped."""
        device = self._parameters[0].device
        number, of = self._curve.epochs, len(batches)
        losses: list[float] = []
        unseen: list[Tensor] = []  # losses that the device may still be at
        for step, batch in enumerate(batches, 1):
            self._set_rate(number + (step - 1) / of)
            with _precision(self._config.precision, device):
                value = loss(batch)
            self._step(value)
            unseen.append(value.detach())
            if step % LOOK_EVERY and step < of:
                continue
            looked_at = torch.stack(unseen)
            distributed.average([looked_at])
            losses += looked_at.tolist()
            unseen.clear()
            self._check(losses, number + 1)
            rate = self._curve.steps / max(self._seconds(), 1e-9)
            figures = {"loss": float(np.mean(losses)), "steps_per_s": rate}
            if self._curve.best_epoch:
                figures[f"best {self._run.criterion.name}"] = self._curve.best
            self._run.progress.step(number + step / of, self._config.epochs, **figures)
            if step < of and distributed.any_of(self._run.stopped()):
                return None
        return float(np.mean(losses)) if losses else 0.0

    def _step(self, loss: Tensor) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        distributed.average(each.grad for each in self._parameters)
        if self._config.clip:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip, foreach=True)
        self._optimiser.step()
        self._curve.steps += 1
        if self._config.average:
            # While there is little past, less of it is kept: no memory of where it began.
            keep = min(self._config.average, self._curve.steps / (self._curve.steps + 10))
            with torch.no_grad():
                torch._foreach_lerp_(self._average, self._parameters, 1 - keep)

    def _set_rate(self, epochs_done: float) -> None:
        config = self._config
        rate = config.learning_rate * min(1.0, (self._curve.steps + 1) / max(config.warm_up, 1))
        if config.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * epochs_done / config.epochs))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    @staticmethod
    def _check(losses: list[float], epoch: int) -> None:
        for step, value in enumerate(losses, 1):
            if not math.isfinite(value):
                raise FitFailed(
                    f"loss is {value} at epoch {epoch}, step {step}:"
                    " choose a lower learning_rate, or clip gradients"
                )

    def _choose(self, mean_loss: float, score: Scoring) -> None:
        """Ask validation, where it is due, and keep the weights that are better than any before."""
        curve, config = self._curve, self._config
        number = curve.epochs + 1
        found = None
        due = number % config.validate_every == 0 or number == config.epochs
        if self._run.validate is not None and due:
            self._swap_average()
            found = self._run.validate(score)
            less = self._run.criterion.less_is_better
            if not curve.best_epoch or (found < curve.best if less else found > curve.best):
                curve.best_epoch, curve.best = number, found
                self._best = {
                    name: value.detach().clone()
                    for name, value in self._module.state_dict().items()
                }
            self._swap_average()
        curve.points.append(Point(number, mean_loss, found, self._seconds()))
        figures = {"loss": mean_loss}
        if found is not None:
            figures[self._run.criterion.name] = found
        self._run.progress.step(number, config.epochs, **figures)

    def _swap_average(self) -> None:
        """Exchange the weights for their average, or back."""
        if not self._config.average:
            return
        with torch.no_grad():
            for weights, average in zip(self._parameters, self._average, strict=True):
                weights.data, average.data = average.data, weights.data

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _path(self) -> Path | None:
        folder = self._run.checkpoints
        return None if folder is None else folder / CHECKPOINT

    def _described(self) -> str:
        """Return what a checkpoint must agree in: how it is fitted, and what."""
        shapes = {name: list(value.shape) for name, value in self._module.state_dict().items()}
        fitted: dict[str, Any] = {**msgspec.to_builtins(self._config), "seed": self._run.seed}
        for name in ("epochs", "patience", "time_limit_s"):  # a fit may go on longer than it was to
            if self._config.schedule == "constant" or name != "epochs":
                del fitted[name]
        return msgspec.json.encode([fitted, shapes]).decode()

    def _keep(self) -> None:
        path = self._path()
        if path is None or not distributed.is_first():
            return
        groups: dict[str, Weights] = {
            "weights": self._module.state_dict(),
            "best": self._best,
            "average": {str(at): each for at, each in enumerate(self._average)},
        }
        for at, state in self._optimiser.state_dict()["state"].items():
            groups[f"optimiser/{at}"] = state
        curve = msgspec.json.encode(self._curve).decode()
        write_checkpoint(path, groups, {"of": self._described(), "curve": curve})

    def _resume(self) -> None:
        path = self._path()
        if path is None or not path.exists():
            return
        groups, said = read_checkpoint(path)
        if said.get("of") != self._described():
            raise FitFailed(f"{path} is of another configuration, seed or data: remove it to begin")
        self._curve = msgspec.json.decode(said["curve"], type=Curve)
        self._seconds_before = self._curve.points[-1].seconds
        device = self._parameters[0].device
        self._module.load_state_dict(groups["weights"])
        self._best = {name: each.to(device) for name, each in groups.get("best", {}).items()}
        for at, each in groups["average"].items():
            self._average[int(at)].copy_(each)
        known = self._optimiser.state_dict()
        states = {
            int(name.removeprefix("optimiser/")): dict(group)
            for name, group in groups.items()
            if name.startswith("optimiser/")
        }
        self._optimiser.load_state_dict({"state": states, "param_groups": known["param_groups"]})


@contextmanager
def _precision(precision: str, device: torch.device) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
