"""Make what lets callers in: token, public-key, keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.cli import options

To = Annotated[
    Path | None, typer.Option(help="Add the services' line to this file; absent: print it.")
]


def token(
    name: Annotated[str, typer.Argument(help="Whose it is, as metrics and refusals call them.")],
    scopes: Annotated[
        str,
        typer.Option(
            help="serve (lists by gRPC), publish and read (what comes in, and lists, by HTTP),"
            " people (state, explain, forget, also_user_ids), operate (status, snapshot)."
        ),
    ] = "serve",
    to: To = None,
) -> None:
    """Make a bearer token; services keep its hash, in the file FRESHET_TOKENS_FILE."""
    from shared.access import tokens

    made = tokens.new_token()
    try:
        line = tokens.line_of(name, tokens.read_scopes(scopes), made)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _hand_over(line, "the services' FRESHET_TOKENS_FILE", to)
    options.errors.say("for the caller, once:")
    print(made)


def public_key(
    name: Annotated[str, typer.Argument(help="Whose it is, as metrics and refusals call them.")],
    origin: Annotated[str, typer.Argument(help="Whose pages use it: https://shop.example.com")],
    to: To = None,
) -> None:
    """Make a key for web pages, and the secret by which the shop signs user ids for it."""
    from shared.access import public_keys

    try:
        made = public_keys.new_public_key(name, origin)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _hand_over(" ".join(made), "the gateway's FRESHET_PUBLIC_KEYS_FILE", to)
    options.errors.say("for the shop's backend, which signs with it (docs/tracking.md):")
    options.errors.say(made.secret)
    options.errors.say("for the page:")
    print(made.key)


def keys(
    folder: Annotated[Path, typer.Argument(help="Where they go.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address that services are reached by, besides their own."),
    ] = None,
) -> None:
    """Make certificates and tokens for a system to try, where there are none that last."""
    from services.cli.keys.issue import write_keys

    try:
        made = write_keys(folder, host or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    options.console.print(f"{folder}: {'made' if made else 'nothing to do'}")


def _hand_over(line: str, reader: str, to: Path | None) -> None:
    """Add a line to the file that `reader` names, for its owner's eyes alone, or print it."""
    if to is None:
        options.errors.say(f"for {reader}:\n{line}")
        return
    try:
        with os.fdopen(os.open(to, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+") as file:
            ended = file.read()[-1:] in ("", "\n")
            file.write(f"{'' if ended else chr(10)}{line}\n")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(token)
    app.command()(public_key)
    app.command()(keys)
