"""Share options among commands, and what is shown while they work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.training.models.model import FitProgress, Preset

INTERRUPTED: Final = 130  # exit code of what Ctrl-C ends
WIDTH: Final = 200  # columns where nobody's window sets them, so that nothing is cut

Data = Annotated[
    Path,
    typer.Option(exists=True, file_okay=False, help="Folder of MovieLens, or of interactions.*."),
]
Posters = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of MOVIE_ID.jpg.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        exists=True,
        dir_okay=False,
        help="TOML: a table for each model, such as [sasrec]; a key `model` in it tells whose other"
        " name this is.",
    ),
]
PresetName = Annotated[
    Preset, typer.Option("--preset", help="quick ends within half an hour on two cores.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of all that is drawn.")]
Device = Annotated[str, typer.Option(help="As PyTorch names it: cpu, cuda.")]
FitsFolder = Annotated[
    Path, typer.Option("--fits", file_okay=False, help="Where fitted models are kept.")
]
Again = Annotated[bool, typer.Option("--again", help="Fit anew what was fitted before.")]

FITS: Final = Path(".freshet/training")


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


console = _console(stderr=False)
errors = _console(stderr=True)


class StopRequest:
    """Lets Ctrl-C end a fit early: one that asks ends itself, any other is interrupted."""

    def __init__(self) -> None:
        self.made = False
        self._asked = False

    def __call__(self) -> bool:
        """Return whether a fit is to end."""
        self._asked = True
        return self.made

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.made or not self._asked:
            raise KeyboardInterrupt
        self.made = True
        errors.print("ending after this step; Ctrl-C again ends at once")

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear Ctrl-C in the body. Exits with 130 where it ended the body."""
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        except KeyboardInterrupt:
            errors.print("interrupted; what was finished is kept")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGINT, before)


class Bars:
    """Progress bars of fits, each with its newest figures, on standard error."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:g}/{task.total:g}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=errors,
            transient=not errors.is_terminal,
        )

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bars.stop()

    def of(self, name: str) -> FitProgress:
        """Begin a bar."""
        return _Bar(self._bars, name)


class _Bar(FitProgress):
    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=1, figures="")

    def step(self, done: float, of: float, **figures: float) -> None:
        self._bars.update(self._task, completed=done, total=of)
        if figures:
            told = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self._bars.update(self._task, figures=told)
