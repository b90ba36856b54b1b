"""Assemble the training commands; `freshet train` and its like run this as a process."""

from __future__ import annotations

import sys

import typer

from services.training.commands import (
    building,
    evaluating,
    explaining,
    finding,
    fitting,
    options,
    reporting,
)
from services.training.failures import explain

app = typer.Typer(
    name="freshet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common() -> None:
    """Fit models, measure them under one protocol, and keep what they learnt."""


for commands in (fitting, evaluating, explaining, finding, reporting, building):
    commands.add_to(app)


def main() -> None:
    """Run the command line: exit code 0, 1 for a failure, 2 for a mistake in it."""
    try:
        app(prog_name="freshet")
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        options.errors.print(f"freshet: {sentence}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
