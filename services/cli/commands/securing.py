"""Make what lets callers in: token, public-key, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import options


def token(
    name: Annotated[str, typer.Argument(help="Whose it is, as metrics and refusals call them.")],
    scopes: Annotated[
        str,
        typer.Option(
            help="serve (lists by gRPC), publish and read (what comes in, and lists, by HTTP),"
            " people (state, explain, forget, also_user_ids), operate (status, snapshot)."
        ),
    ] = "serve",
) -> None:
    """Make a bearer token; services keep its hash, in the file FRESHET_TOKENS_FILE."""
    from shared.access import tokens

    made = tokens.new_token()
    try:
        line = tokens.line_of(name, tokens.read_scopes(scopes), made)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    options.errors.say(f"for the services' FRESHET_TOKENS_FILE:\n{line}\nfor the caller, once:")
    print(made)


def public_key(
    name: Annotated[str, typer.Argument(help="Whose it is, as metrics and refusals call them.")],
    origin: Annotated[str, typer.Argument(help="Whose pages use it: https://shop.example.com")],
) -> None:
    """Make a key for web pages, and the secret by which the shop signs user ids for it."""
    from shared.access import public_keys

    try:
        made = public_keys.new_public_key(name, origin)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    options.errors.say(f"for the gateway's FRESHET_PUBLIC_KEYS_FILE:\n{' '.join(made)}")
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


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(token)
    app.command()(public_key)
    app.command()(keys)
