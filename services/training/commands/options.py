"""Share options among commands, and the two terminals."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console

from freshet.settings import from_environment
from services.training.data.dataset import Dataset
from services.training.data.events.tables import TableForm
from services.training.data.read import read
from services.training.models.model import Preset
from shared.inputs.columns import parse_map
from shared.inputs.convert import Reading
from shared.inputs.lines import check_encoding
from shared.inputs.refusals import BadInput

WIDTH: Final = 200  # columns where nobody's window sets them, so that nothing is cut

_FOLDER: Final = typer.Option(
    "--data", exists=True, file_okay=False, help="Folder of MovieLens, or of interactions.*."
)
Data = Annotated[Path, _FOLDER]
DataUnlessTopics = Annotated[Path | None, _FOLDER]
FromTopics = Annotated[
    bool,
    typer.Option(
        "--from-topics", help="Instead of --data: what was streamed (KAFKA_BOOTSTRAP_SERVERS)."
    ),
]
Posters = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of MOVIE_ID.jpg.")
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="What a column of tables is; nothing after = leaves it out. As often as need be.",
    ),
]
TimeUnit = Annotated[
    Literal["s", "ms", "us", "ns"] | None,
    typer.Option("--time-unit", help="Of tables' numbers that are times."),
]
Encoding = Annotated[str | None, typer.Option(help="Of tables, such as cp1252; else utf-8.")]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        exists=True,
        dir_okay=False,
        help="TOML: a table for each model, such as [sasrec]; a key `model` in it tells whose other"
        " name this is. Given again, a later file says what it says of a model beside the former.",
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

Against = Annotated[
    str | None, typer.Option(help="The model that the others are compared with; else the best.")
]

FITS: Final = Path(".freshet/training")

PICTURES: Final = "pictures"  # below FITS, of items that were streamed


def table_form(columns: list[str] | None, time_unit: str | None, encoding: str | None) -> TableForm:
    """Return how tables are written by what the command line says. Raises BadInput."""
    if encoding is not None:
        check_encoding(encoding)
    return TableForm(Reading(tuple(map(parse_map, columns or ())), time_unit), encoding)


def read_dataset(
    data: Path | None,
    posters: Path | None,
    form: TableForm,
    fits_folder: Path,
    *,
    from_topics: bool,
) -> Dataset:
    """Read a folder, or the live topics. Raises BadInput, BadSetting, KafkaError."""
    if from_topics == (data is not None):
        raise typer.BadParameter("give --data or --from-topics, and not both")
    if data is not None:
        return read(data, posters, form)
    from freshet.kafka_clients import KafkaSettings
    from services.training.data.events.topics import read_topics

    settings = from_environment(KafkaSettings, os.environ)
    return asyncio.run(read_topics(settings, fits_folder / PICTURES))


def check_known(against: str | None, models: Collection[str], where: str) -> None:
    """Raise BadInput where a model that others are to be compared with is not among them."""
    if against is not None and against not in models:
        raise BadInput(f"--against {against}: {where} has only {', '.join(models)}")


def command_line() -> str:
    """Return how this process was called, as one would type it: results tell it."""
    return shlex.join(["freshet", *sys.argv[1:]])


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


console = _console(stderr=False)
errors = _console(stderr=True)
