"""Commands that run things: up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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


def up(
    data: Data,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what it holds first.")] = False,
) -> None:
    """Run Kafka, Valkey and all services here until Ctrl-C."""
    from services.cli.up import command

    command.up(data, fresh=fresh, console=Console())


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(up)
