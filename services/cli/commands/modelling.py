"""Look after model bundles: models build, publish, list, rollback; activate."""

from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import endpoints, options, terminal
from services.cli.failures import Failed
from services.cli.options import Data, Json

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.addresses import Addresses

models = typer.Typer(help="Model bundles.", no_args_is_help=True)

Wait = Annotated[bool, typer.Option(help="Wait until the bundle is served.")]


def activate(
    data: Data,
    space: Annotated[str, typer.Argument(help="Of the bundle, as `freshet models list` names it.")],
    as_json: Json = False,
) -> None:
    """Let a model bundle of before be served again: a rollback, or back from one."""
    number = _order_again(endpoints.addresses(data), space)
    if as_json:
        terminal.print_json({"space": space, "order": number})
    else:
        options.console.print(f"order {number}: {space} is served once embedding has all its items")


@models.command("build")
def build_models(
    folder: Annotated[Path, typer.Argument(help="Where the bundle goes.")],
    image: Annotated[
        str | None,
        typer.Option(help="Another CNN, torchvision:NAME (needs PyTorch: `make training`)."),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Draw that CNN's weights, for tests.")
    ] = False,
) -> None:
    """Make the day-zero encoders again from the pinned packages, hashes checked."""
    if random_weights and image is None:
        raise typer.BadParameter("--random-weights is of a CNN that --image names")
    if image is not None:
        from services.cli.training import become

        drawn = ["--random-weights"] if random_weights else []
        become("build-bundle", [str(folder), "--image", image, *drawn], os.environ)
    try:
        from deploy.models.export.build import build
        from deploy.models.export.sources import SourcesUnavailable
        from deploy.models.export.weights import BadWeights
    except ModuleNotFoundError as missing:
        raise Failed(
            f"models build needs {missing.name}; in the checkout: pip install -e '.[models]'"
        ) from None

    with options.progress_bars() as bars:
        bar = bars.add("starting", total=100)

        def show(step: str, share: float) -> None:
            bar.reach(round(100 * share), what=step)

        try:
            bundle = build(folder, show)
        except (BadWeights, SourcesUnavailable) as error:
            raise Failed(str(error)) from None
    options.console.print(f"{folder}: {bundle.space}, {bundle.dim} dimensions")


@models.command("publish")
def publish_model(
    data: Data,
    folder: Annotated[Path, typer.Argument(help="The bundle: a folder with manifest.json.")],
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share by which its figures may be below those of what is served.",
            show_default="FRESHET_GATE_TOLERANCE, or 0.02",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish it although its figures are worse, or absent.")
    ] = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Check a model bundle and let it be served once all items are encoded in its space."""
    from freshet.settings import from_environment
    from services.cli.models.gate import GateSettings
    from services.cli.models.publish import publish

    if tolerance is None:
        tolerance = from_environment(GateSettings, os.environ).tolerance
    where = endpoints.addresses(data)
    publication = publish(where, folder, tolerance=tolerance, force=force)
    if publication.forced:
        options.errors.say(f"{publication.space} is published by --force, past the gate")
    _say_served(where, publication.space, wait=wait, as_json=as_json)


@models.command("list")
def list_models(data: Data, as_json: Json = False) -> None:
    """Show the bundles that were published or served, with their figures."""
    from services.cli.models.publish import listed

    found = listed(endpoints.addresses(data))
    if as_json:
        terminal.print_json({"models": found})
    else:
        options.console.print(_table(found))


@models.command("rollback")
def rollback(data: Data, wait: Wait = True, as_json: Json = False) -> None:
    """Go back to the bundle that was served before, or take back one that is not served yet."""
    from services.cli.models.publish import standing_of

    where = endpoints.addresses(data)
    standing = asyncio.run(standing_of(where))
    active, previous = standing.active, standing.previous
    pending = active is not None and standing.ordered not in (None, active.space)
    target = active if pending else previous
    if target is None:
        raise Failed("no bundle was served before this one")
    _order_again(where, target.space)
    _say_served(where, target.space, wait=wait, as_json=as_json)


def _order_again(where: Addresses, space: str) -> int:
    """Order a bundle of before; return the order's number. Raises Failed."""
    from services.cli.models.publish import order, standing_of

    number = asyncio.run(order(where, space))
    if not number:
        orders = asyncio.run(standing_of(where)).orders
        there = ", ".join(sorted(orders, key=orders.__getitem__)) or "none"
        raise Failed(f"no bundle of space {space!r} was ever there, only: {there}")
    return number


def _say_served(where: Addresses, space: str, *, wait: bool, as_json: bool) -> None:
    """Wait until a space is served, where that is wanted, and say what is so then."""
    from services.cli.models.publish import until_active

    if wait:
        with options.progress_bars() as bars:
            bar = bars.add(f"encoding in {space}")
            most = 0

            def show(behind: int) -> None:
                nonlocal most
                most = max(most, behind)
                bar.reach(most - behind, total=most)

            asyncio.run(until_active(where, space, show))
    if as_json:
        terminal.print_json({"space": space, "active": wait})
    else:
        options.console.print(f"{space} is {'served' if wait else 'ordered'}")


def _table(found: list[dict[str, Any]]) -> Table:
    table = terminal.columns(
        *("space", "", "published (UTC)", "hr@10", "ndcg@10", "beside day zero", "measured on"),
        right=("hr@10", "ndcg@10", "beside day zero"),
    )
    for one in found:
        evaluation, gain = one["evaluation"], one["beside_day_zero"]
        figures = (evaluation.get(name) for name in ("hr@10", "ndcg@10"))
        measured_on = (evaluation.get(name) for name in ("data", "split", "seed"))
        table.add_row(
            one["space"],
            one["state"],
            _time(one["published_ms"]) + (" by --force" if one["forced"] else ""),
            *("" if figure is None else f"{figure:.4f}" for figure in figures),
            "" if gain is None else f"{gain:+.1%}",
            " · ".join(str(word) for word in measured_on if word is not None),
        )
    return table


def _time(time_ms: int | None) -> str:
    if time_ms is None:
        return "with embedding"
    return f"{datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M}"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(activate)
    app.add_typer(models, name="models")
