"""Assemble the `freshet` command; every command lives in services/cli/commands."""

from __future__ import annotations

import logging
import sys

import typer

from freshet.settings import BadSetting
from services.cli.commands import asking, importing, operating, publishing, running
from services.cli.failures import explain

app = typer.Typer(
    name="freshet",
    help="Clicks in, fresh recommendations out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (running, importing, publishing, asking, operating):
    commands.add_to(app)


def main() -> None:
    """Run the command line: exit code 0, 1 for a failure, 2 for a mistake in it or in a setting."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    try:
        app()
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(f"freshet: {sentence}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadSetting) else 1)


if __name__ == "__main__":
    main()
