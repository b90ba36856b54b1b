"""Assemble the `freshet` command; every command lives in services/cli/commands."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from freshet.prefix import PrefixSettings
from freshet.settings import BadSetting, from_environment
from services.cli import options, terminal
from services.cli.commands import (
    adopting,
    asking,
    importing,
    modelling,
    operating,
    publishing,
    replaying,
    running,
    securing,
    training,
)
from services.cli.failures import explain

app = typer.Typer(
    name="freshet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below it, too
)
for commands in (
    *(running, importing, publishing, asking, operating, replaying, modelling, adopting, securing),
    training,
):
    commands.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"freshet {version('freshet')}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Clicks in, fresh recommendations out."""
    from_environment(PrefixSettings, os.environ)  # what names are made with


def main() -> None:
    """Run the command line: exit code 0, 1 for a failure, 2 for a mistake in it or in a setting."""
    terminal.prepare_streams()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    try:
        app()
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        options.errors.say(f"freshet: {sentence}")
        sys.exit(2 if isinstance(error, BadSetting) else 1)


if __name__ == "__main__":
    main()
