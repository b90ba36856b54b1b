"""Look after a running system: status, dead-letters, snapshot, models build."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from services.cli import endpoints, options
from services.cli.failures import Failed
from services.cli.options import Data, Json

SNAPSHOT_TIMEOUT_S = 600.0
SAID_IN_TABLE = ("service", "ready", "live", "address", "process", "error", "partitions")

models = typer.Typer(help="Model bundles.", no_args_is_help=True)


def status(data: Data, as_json: Json = False) -> None:
    """Show every service, its lag, freshness and versions. Exit code 1 if anything is not well."""
    from services.cli import health

    report = asyncio.run(health.gather(data))
    if as_json:
        options.print_json(report)
    else:
        options.console.print(_status(report))
    if not health.all_well(report):
        raise typer.Exit(1)


def dead_letters(
    data: Data,
    count: Annotated[int, typer.Option("-n", min=1, help="How many to show, the newest.")] = 20,
    replay: Annotated[
        bool, typer.Option("--replay", help="Publish the originals again that were not yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what could not be processed, and why; or publish it again."""
    from services.cli import dead_letters as letters

    settings = endpoints.kafka_settings(endpoints.addresses(data))
    if replay:
        replayed, strange = asyncio.run(letters.replay(settings))
        if as_json:
            options.print_json({"replayed": replayed, "strange": strange})
            return
        options.console.print(f"{replayed} published again")
        if strange:
            options.errors.print(f"{strange} records on the topic are no dead letters")
        return
    total, shown = asyncio.run(letters.newest(settings, count))
    if as_json:
        options.print_json({"total": total, "dead_letters": shown})
        return
    options.console.print(_letters_table(shown) if shown else "no dead letters")
    if total > len(shown):
        options.console.print(f"the newest {len(shown)} of {total}")


def snapshot(data: Data, as_json: Json = False) -> None:
    """Let embedding build a snapshot of the index now, and wait for it."""
    address = endpoints.addresses(data).health["embedding"]
    made = endpoints.health_page(address, "snapshot", post=True, timeout_s=SNAPSHOT_TIMEOUT_S)
    if as_json:
        options.print_json(made)
    else:
        options.console.print(" · ".join(f"{name} {value}" for name, value in made.items()))


@models.command("build")
def build_models(
    folder: Annotated[Path, typer.Argument(help="Where the bundle goes.")],
) -> None:
    """Make the day-zero encoders again from the pinned packages, hashes checked."""
    try:
        from deploy.models.export.build import build
        from deploy.models.export.sources import SourcesUnavailable
        from deploy.models.export.weights import BadWeights
    except ModuleNotFoundError as missing:
        raise Failed(
            f"models build needs {missing.name}; in the checkout: pip install -e '.[models]'"
        ) from None

    with options.progress_bars() as progress:
        task = progress.add_task("starting", total=100)

        def show(step: str, share: float) -> None:
            progress.update(task, description=step, completed=round(100 * share))

        try:
            bundle = build(folder, show)
        except (BadWeights, SourcesUnavailable) as error:
            raise Failed(str(error)) from None
    options.console.print(f"{folder}: {bundle.space}, {bundle.dim} dimensions")


def _status(report: dict[str, Any]) -> RenderableType:
    table = Table(box=None, padding=(0, 2))
    for column in ("", "state", "address", "process"):
        table.add_column(column, no_wrap=True)
    servers = {name: report[name] for name in ("kafka", "redis")}
    for name, server in servers.items():
        table.add_row(name, _state(server, "answers"), server["address"], "")
    for name, service in report["services"].items():
        state = _state(service, "ready" if service.get("ready") else "not ready")
        table.add_row(name, state, service["address"], str(service["process"] or ""))
    details = [
        f"{name}: {_in_words(page)}"
        for name, full in (servers | report["services"]).items()
        if (page := {key: full[key] for key in full if key not in SAID_IN_TABLE})
    ]
    return Group(table, "", *details)


def _in_words(page: dict[str, Any]) -> str:
    """Write `lag 0 · catalogue (items 3, delay_ms 2)`; what is not set, is left out."""
    parts = []
    for name, value in page.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{key} {part}" for key, part in value.items() if part != "")
            parts.append(f"{name} ({inner})")
        elif value not in (None, ""):
            parts.append(f"{name} {value}")
    return " · ".join(parts)


def _state(page: dict[str, Any], otherwise: str) -> str:
    return "does not answer" if "error" in page else otherwise


def _letters_table(shown: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2))
    for column in ("failed (UTC)", "origin", "service", "class", "error"):
        table.add_column(column)
    for letter in shown:
        failed = datetime.datetime.fromtimestamp(letter["failed_ms"] / 1000, datetime.UTC)
        table.add_row(
            f"{failed:%m-%d %H:%M:%S}",
            letter["origin"],
            letter["service"],
            letter["error_class"],
            letter["error"],
        )
    return table


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(status)
    app.command("dead-letters")(dead_letters)
    app.command()(snapshot)
    app.add_typer(models, name="models")
