"""Fit models, and keep each fit in a folder of its own, so that none is made twice.

A fit is known by its data, model, configuration and seed. Beside the model stand `fit.json` (what
it took), `progress.jsonl` (figures on the way) and, until it is done, the checkpoints that it
resumes from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from safetensors import SafetensorError

from services.training.data.dataset import Dataset
from services.training.data.splits import Asked, Split
from services.training.evaluation.measure import validation_ndcg
from services.training.failures import writing
from services.training.models.model import (
    NDCG,
    Config,
    FitFailed,
    FitProgress,
    Model,
    Run,
    Scoring,
    failing_as,
)
from services.training.models.registry import model_type
from services.training.stopping import StopRequest
from shared.inputs.refusals import BadInput

FIT: Final = "fit.json"
PROGRESS: Final = "progress.jsonl"
CHECKPOINTS: Final = "checkpoints"
DIGEST_CHARACTERS: Final = 12
PROCESSORS: Final = "cpu"  # as PyTorch names them
IS_FIRST: Final = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun, which writes


@dataclass(frozen=True, slots=True)
class Choice:
    """A model with its configuration, by a name that may tell several of one model apart."""

    name: str
    model: str
    config: Config


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model, and what it took."""

    model: Model
    folder: Path
    seconds: float
    machine: str
    complete: bool = True  # else it was stopped: the best until then

    def cost(self) -> dict[str, Any]:
        """Return what it took, as results tell it."""
        return {
            "fit_s": self.seconds,
            "parameters": sum(int(each.size) for each in self.model.tensors().values()),
            "machine": self.machine,
        }

    def curve(self) -> list[tuple[float, float]]:
        """Return how NDCG@10 of validation rose: what was done, in epochs, and the figure then."""
        told: dict[float, float] = {}
        for line in (self.folder / PROGRESS).read_text().splitlines():
            with suppress(ValueError):  # half of one is left by a disk that was full
                each = json.loads(line)
                if NDCG.name in each:
                    told[each["done"]] = each[NDCG.name]
        return sorted(told.items())


class Fits:
    """Makes fits on the training part of a split, or finds them."""

    def __init__(
        self,
        folder: Path,
        split: Split,
        *,
        seed: int,
        device: str,
        choose: Callable[[str], Choice],
        stop: StopRequest,
        progress: Callable[[str], FitProgress],
    ) -> None:
        self._folder = folder
        self._data = split.train
        self._validation = split.validation
        self._seed = seed
        self._device = device
        self._choose = choose
        self._stop = stop
        self._progress = progress
        self._fingerprint = fingerprint(split.train, split.validation)

    def folder_of(self, choice: Choice) -> Path:
        """Return where a fit is kept."""
        told = msgspec.json.encode([choice.model, choice.config, self._seed, self._fingerprint])
        digest = hashlib.blake2b(told).hexdigest()[:DIGEST_CHARACTERS]
        return self._folder / self._data.name / f"{choice.model}-{digest}"

    def fit(self, choice: Choice, *, again: bool = False) -> Fit:
        """Return a model's fit, kept or made now.

        again: make it anew from the beginning. Raises FitFailed, OSError, and ModuleNotFoundError
        where a model needs what is not installed.
        """
        folder = self.folder_of(choice)
        if again and folder.exists():
            shutil.rmtree(folder)
        known = _described(folder)
        type_of_model = model_type(choice.model)
        if known.get("complete"):
            model = _loaded(type_of_model, folder)
            return Fit(model, folder, known["fit_s"], known["machine"])
        if type_of_model.on_device:
            _check_device(self._device)
        model = type_of_model(choice.config)
        checkpoints = folder / CHECKPOINTS
        checkpoints.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        # a line at once: a process that is killed leaves no half of one
        with writing(folder / PROGRESS), (folder / PROGRESS).open("a", buffering=1) as file:
            heard = _HeardProgress(self._progress(choice.name), file.write)
            run = Run(
                seed=self._seed,
                device=self._device,
                validate=partial(_validate, self._validation) if len(self._validation) else None,
                validation=self._validation,
                checkpoints=checkpoints,
                progress=heard,
                stopped=self._stop,
                fitted=self.fitted,
            )
            self._stop.begin()
            with failing_as(choice.name):
                model.fit(self._data, run)
        seconds = known.get("fit_s", 0.0) + time.monotonic() - began
        complete = not self._stop.made
        where = machine(self._device if type_of_model.on_device else PROCESSORS)
        if not IS_FIRST:
            return Fit(model, folder, seconds, where, complete)
        described = {
            "model": choice.model,
            "seed": self._seed,
            "machine": where,
            "fit_s": seconds,
            "complete": complete,
        }
        with writing(folder / FIT):
            model.save(folder)
            (folder / FIT).write_text(json.dumps(described, indent=1) + "\n")
        if complete:
            shutil.rmtree(checkpoints)
        return Fit(model, folder, seconds, where, complete)

    def fitted(self, name: str) -> Model:
        """Return the model of a name, kept or fitted now. Raises what `fit` does."""
        return self.fit(self._choose(name)).model


class _HeardProgress(FitProgress):
    """Keeps the figures, and refuses those that are no numbers."""

    def __init__(self, then: FitProgress, write: Callable[[str], Any]) -> None:
        self._then = then
        self._write = write

    def step(self, done: float, of: float, **figures: float) -> None:
        for figure, value in figures.items():
            if not math.isfinite(value):
                raise FitFailed(
                    f"{figure} is {value} at {done:g} of {of:g}; a lower learning "
                    "rate or a larger batch may help"
                )
        if figures:
            self._write(json.dumps({"done": done, "of": of, **figures}) + "\n")
        self._then.step(done, of, **figures)


def fingerprint(data: Dataset, asked: Asked) -> str:
    """Return what tells the data of two fits apart."""
    digest = hashlib.blake2b(digest_size=16)
    tables = [data.item_ids, data.user_ids, data.items, data.attributes, data.pictures]
    digest.update(msgspec.json.encode(tables, enc_hook=str))
    for histories in (data.events, asked.histories):
        for array in (histories.starts, histories.items, histories.times_s, histories.values):
            digest.update(b"" if array is None else array.tobytes())
    digest.update(asked.targets.tobytes())
    return digest.hexdigest()


def machine(device: str) -> str:
    """Say what a fit ran on: the accelerator's name, or the processor and how many cores."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores"


def _processor() -> str:
    """Return the processor's name where Linux tells it, else its architecture."""
    try:
        told = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        told = None
    return told[1] if told else platform.machine()


def _validate(asked: Asked, score: Scoring) -> float:
    return validation_ndcg(score, asked)


def _check_device(device: str) -> None:
    """Raise BadInput where PyTorch cannot calculate on a device; of a CPU it is not asked."""
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # a name that is none, or no driver for it
        raise BadInput(f"--device {device}: {str(error).splitlines()[0]}") from None


def _described(folder: Path) -> dict[str, Any]:
    """Return what is known of a fit; of one whose end was not written whole, nothing."""
    try:
        return dict(json.loads((folder / FIT).read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _loaded(type_of_model: type[Model], folder: Path) -> Model:
    """Return a kept model. Raises FitFailed where its files are not what was written."""
    try:
        return type_of_model.load(folder)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FitFailed(f"{folder} cannot be read, --again fits it anew: {error}") from error
