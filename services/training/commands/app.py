"""Assemble the training commands."""

from __future__ import annotations

import typer

from services.training.commands import (
    building,
    evaluating,
    explaining,
    finding,
    fitting,
    reporting,
)

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
