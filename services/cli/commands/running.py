"""Run things: up, demo."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import webbrowser
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from services.cli import options
from services.cli.addresses import DEMO, Running
from services.cli.options import Data

Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what it holds first.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser once it is there.")]
Once = Annotated[bool, typer.Option("--once", help="End after the walk-through.")]
Export = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Write the shop and its earlier shoppers there, as tables to train on, and end.",
    ),
]

TRY_IT = """
It stays up until Ctrl-C, its shoppers go on clicking: see them, and click yourself, at
  {page}?user=shopper-1
In another terminal:
  {freshet} recommend shopper-1
  {freshet} search --text "a warm lamp"
  {freshet} status"""


def up(data: Data, fresh: Fresh = False) -> None:
    """Run Kafka, Valkey and all services here until Ctrl-C."""
    from services.cli.up import command

    command.run_shown(data, options.console, command.until_interrupted, fresh=fresh)


def demo(data: Data, once: Once = False, open: Open = False, export: Export = None) -> None:
    """Open a shop with drawn pictures and simulated shoppers, and walk through it.

    Runs under DATA/demo and starts empty, with a bundle that was trained for this shop
    (FRESHET_BUNDLE names another). With --once the last line is JSON.
    """
    from services.cli import endpoints
    from services.cli.demo import trained, visits, walk
    from services.cli.up import command

    if export is not None:
        _export(export)
        return

    def visit(running: Running) -> walk.Figures:
        settings = endpoints.kafka_settings(running.addresses)
        where = running.addresses
        page = command.console_address(running)
        if open:
            webbrowser.open(page)
        untrained = partial(trained.untrained_ranking, data / DEMO, where)
        figures = asyncio.run(walk.run(options.console, settings, where.ranking, untrained))
        if not once:
            options.console.print(TRY_IT.format(page=page, freshet=_as_typed()))
            asyncio.run(visits.go_on(settings, where.ranking, Random()))
        return figures

    environ = {"FRESHET_BUNDLE": str(trained.BUNDLE), **os.environ}
    figures = command.run_shown(data / DEMO, options.console, visit, fresh=True, environ=environ)
    if once and figures is None:
        raise typer.Exit(1)  # interrupted
    if once:
        print(json.dumps(figures))


def _export(folder: Path) -> None:
    from services.cli.demo.export import EVENTS, IMAGES, ITEMS, write_tables
    from shared.clock import now_ms

    with options.console.status("drawing and simulating"):
        write_tables(folder, now_ms())
    options.console.say(
        f"{folder}: {ITEMS}, {IMAGES}/ and {EVENTS}, for "
        f"`freshet train tower --data {folder} --bundle BUNDLE`"
    )


def _as_typed() -> str:
    """Return how this command is called here: by name where that is on PATH, else by its path."""
    return "freshet" if shutil.which("freshet") else os.path.relpath(sys.argv[0])


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(up)
    app.command()(demo)
