"""Share options, what is made of rows, and the two terminals among commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from services.cli.addresses import default_data_folder
from services.cli.terminal import Bars, Terminal
from shared.inputs.lines import check_encoding
from shared.inputs.refusals import BadInput, LeftOut, located
from shared.inputs.rows import Row

Read = TypeVar("Read")
Made = TypeVar("Made")
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
    typer.Option("--skip-bad", help="Leave out lines that cannot be used; say how many, and why."),
]


@contextmanager
def in_command_line() -> Iterator[None]:
    """Call what the body refuses a mistake in the command line."""
    try:
        yield
    except BadInput as error:
        raise typer.BadParameter(str(error)) from None


def _known_encoding(name: str | None) -> str | None:
    if name is not None:
        with in_command_line():
            check_encoding(name)
    return name


Encoding = Annotated[
    str | None,
    typer.Option(
        callback=_known_encoding,
        help="Of text files, such as cp1252.",
        show_default="by the byte order mark, else utf-8",
    ),
]

console = Terminal()
errors = Terminal(stderr=True)


def usable(
    rows: Iterable[Row[Read]], make: Callable[[str, Read], Made], *, skip_bad: bool
) -> Iterator[Made]:
    """Make something of each row. Raises BadInput at the first that cannot be used.

    make: takes `file:line` and what is read there. skip_bad: leave it out instead, say why for the
    first of each kind, and how many in the end.
    """
    left_out = LeftOut()
    for origin, read in rows:
        try:
            with located(origin):
                yield make(origin, read())
        except BadInput as error:
            if not skip_bad:
                raise
            if left_out.add(origin, error):
                errors.say(f"left out {error}")
    if left_out.kinds:
        errors.say(str(left_out))


def progress_bars() -> Bars:
    """Return progress bars on standard error: standard output is for results."""
    return Bars(errors)
