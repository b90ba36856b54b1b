"""Measure lists over a log of events: replay."""

from __future__ import annotations

import asyncio
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from services.cli import options
from services.cli.addresses import Running, default_data_folder
from services.cli.failures import Failed
from services.cli.terminal import columns
from shared.clock import now_ms

if TYPE_CHECKING:
    from rich.table import Table

REPLAY: Final = "replay"  # its folder under that of `freshet up`
OF_OTHERS: Final = ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")


class NamedList(StrEnum):
    """A kind of list that is measured."""

    DAY_ZERO = "day-zero"
    COVISITS = "co-visits"


DataSet = Annotated[
    Path, typer.Option("--data", exists=True, file_okay=False, help="MovieLens folder.")
]
Lists = Annotated[
    list[NamedList] | None,
    typer.Option(
        "--list",
        help="Which lists: as served (day-zero), by co-visits alone. May be given repeatedly.",
        show_default="both",
    ),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]
BundleFolder = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="A model bundle, published when half of the log is told: its lists are its own kind.",
    ),
]


def replay(
    data: DataSet,
    lists: Lists = None,
    bundle: BundleFolder = None,
    limit: Annotated[
        int | None, typer.Option(min=10, help="Replay so many events, the first.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Ask before each such event; tell all.")] = 1,
    seed: Annotated[int, typer.Option(help="Which of them.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Replay a log through a system of its own: ask what comes next, score it, then tell it.

    Runs everything under .freshet/replay, empty at first. Figures are of all questions (hr@10,
    ndcg@10, coverage@10), over time, and by how many events of the user's were known.
    """
    from services.cli.replay import run
    from services.cli.up import command

    if used := [name for name in OF_OTHERS if name in os.environ]:
        raise Failed(f"{' and '.join(used)} must not be set: a replay begins with empty servers")
    log = run.read_log(data, now_ms(), limit)

    def measure(running: Running) -> dict[str, Any]:
        with options.progress_bars() as bars:
            return asyncio.run(
                run.run(
                    running.addresses,
                    log,
                    lists or list(NamedList),
                    bars,
                    bundle=bundle,
                    every=every,
                    seed=seed,
                )
            )

    found = command.run_shown(default_data_folder() / REPLAY, options.errors, measure, fresh=True)
    if found is None:
        raise typer.Exit(1)  # interrupted
    options.console.print(_table(found))
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n")


def _table(found: dict[str, Any]) -> Table:
    """Return all figures: of everything, then over time, then by what was known of the user."""
    figures = ("asked", "hr@10", "ndcg@10", "coverage@10")
    table = columns("list", "of", *figures, right=figures)
    for name, measured in found["lists"].items():
        parts = [("all", measured)]
        parts += [(f"up to event {part['events']:,}", part) for part in measured["over_time"]]
        parts += [(f"{known} events known", part) for known, part in measured["by_known"].items()]
        for of, part in parts:
            values = (f"{part[figure]:.4f}" for figure in figures[1:])
            table.add_row(name, of, f"{part['asked']:,}", *values)
    return table


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(replay)
