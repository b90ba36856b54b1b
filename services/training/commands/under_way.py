"""Show how far fits are, and let them be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.training.commands.options import errors
from services.training.data.splits import Split
from services.training.fits import Choice, Fits
from services.training.models.model import FitProgress
from services.training.stopping import StopRequest

LINE_EVERY_S: Final = 30.0  # of a fit, where no terminal shows bars


@contextmanager
def fits_under_way(
    folder: Path, choose: Callable[[str], Choice], *, seed: int, device: str
) -> Iterator[Callable[[Split], Fits]]:
    """Yield what fits models on a split: with bars, and to be stopped.

    A fit that hears of a signal ends itself, and is not complete.
    """
    stop = StopRequest(lambda: errors.print("ending after this step; Ctrl-C again ends at once"))
    with stop.heard(), FitBars() as bars:
        yield partial(
            Fits,
            folder,
            seed=seed,
            device=device,
            choose=choose,
            stop=stop,
            progress=bars.of,
        )


class FitBars:
    """Progress bars of fits with their newest figures; lines where there is no terminal."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.1f}/{task.total:g}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=errors,
            disable=not errors.is_terminal,
        )

    def __enter__(self) -> FitBars:
        self._bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bars.stop()

    def of(self, name: str) -> FitProgress:
        """Begin the bar of a fit."""
        return _Bar(self._bars, name) if errors.is_terminal else _Lines(name)


class _Bar(FitProgress):
    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=1, figures="")

    def step(self, done: float, of: float, **figures: float) -> None:
        self._bars.update(self._task, completed=done, total=of)
        if figures:
            self._bars.update(self._task, figures=_told(figures))


class _Lines(FitProgress):
    def __init__(self, name: str) -> None:
        self._name = name
        self._next_s = time.monotonic()

    def step(self, done: float, of: float, **figures: float) -> None:
        if time.monotonic() >= self._next_s:
            errors.print(f"{self._name} {done:.1f}/{of:g}  {_told(figures)}".rstrip())
            self._next_s = time.monotonic() + LINE_EVERY_S


def _told(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
