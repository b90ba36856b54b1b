"""Train, evaluate, report: commands of services/training, which run where PyTorch is."""

from __future__ import annotations

import os
from typing import Final

import typer

COMMANDS: Final = {
    "train": "Fit a model and keep what it learnt (needs PyTorch: `make training`).",
    "evaluate": "Fit models and measure them under one protocol.",
    "evaluate-content": "Measure what texts and pictures find, without any event.",
    "report": "Write what was measured as a page with plots.",
}


def _add(app: typer.Typer, name: str, told: str) -> None:
    @app.command(
        name,
        help=told,
        add_help_option=False,  # the command itself has the options, and tells of them
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def start(context: typer.Context) -> None:
        from services.cli.training import become

        become(name, context.args, os.environ)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for name, told in COMMANDS.items():
        _add(app, name, told)
