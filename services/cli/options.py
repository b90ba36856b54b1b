"""Share options and the way results are shown among commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.addresses import default_data_folder

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        default_factory=default_data_folder,
        help="Folder of `freshet up`: data, logs, run.json.",
        show_default=".freshet, or FRESHET_DATA",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Count = Annotated[int, typer.Option("-k", min=1, max=500, help="How many items.")]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out lines that cannot be used, saying which."),
]

PIPED_WIDTH = 200  # columns where nobody's window sets them, so that nothing is cut
console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
errors = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def progress_bars() -> Progress:
    """Return progress bars on standard error: standard output is for results."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=errors)
