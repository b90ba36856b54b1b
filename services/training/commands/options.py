"""Share options among commands, and the two terminals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from services.training.models.model import Preset

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
