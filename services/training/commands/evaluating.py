"""Measure models under one protocol: a table on the screen, and results in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from services.training.commands import options
from services.training.commands.choices import ALL, ModelChoices
from services.training.commands.options import (
    Again,
    Against,
    ConfigFiles,
    DataUnlessTopics,
    Device,
    Encoding,
    FitsFolder,
    FromTopics,
    Map,
    Posters,
    PresetName,
    Seed,
    TimeUnit,
)
from services.training.commands.under_way import fits_under_way
from services.training.data.protocols import K_FOLD, LEAVE_LAST_OUT, NAMES, split_of
from services.training.evaluation.by_lists import ByLists
from services.training.evaluation.by_ratings import ByRatings
from services.training.evaluation.results import Results
from services.training.fits import Choice
from services.training.report import tables
from services.training.stopping import INTERRUPTED

LIST_FIGURES: Final = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "score_us")
RATING_FIGURES: Final = ("rmse", "mae")


def evaluate(
    models: Annotated[
        str, typer.Option(help=f"Names with commas between (train --help has them), or {ALL}.")
    ],
    data: DataUnlessTopics = None,
    from_topics: FromTopics = False,
    split: Annotated[
        str, typer.Option(help=f"How events are parted: {', '.join(NAMES)}.")
    ] = LEAVE_LAST_OUT,
    json: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Keep results there.")
    ] = None,
    config: ConfigFiles = None,
    preset: PresetName = "quick",
    seed: Seed = 0,
    device: Device = "cpu",
    posters: Posters = None,
    columns: Map = None,
    time_unit: TimeUnit = None,
    encoding: Encoding = None,
    fits_folder: FitsFolder = options.FITS,
    again: Again = False,
    own_history: Annotated[
        bool, typer.Option("--own-history", help="Rank what a user has chosen already, too.")
    ] = False,
    against: Against = None,
) -> None:
    """Fit models and measure them on what they have not seen, over the whole catalogue.

    Models whose results stand in the JSON file already, by the same configuration, are left.
    """
    choices = ModelChoices(preset, config or ())
    # refuses what is none, before anything else is done
    options.check_known(against, choices.names(models), "--models")
    form = options.table_form(columns, time_unit, encoding)
    dataset = options.read_dataset(data, posters, form, fits_folder, from_topics=from_topics)
    stopped = False
    with fits_under_way(fits_folder, choices.of, seed=seed, device=device) as fits_on:
        protocol: ByLists | ByRatings
        if split == K_FOLD:
            protocol = ByRatings(dataset, fits_on, seed)
        else:
            parted = split_of(split, dataset, seed, data, form)
            protocol = ByLists(parted, fits_on(parted), seed, own_history=own_history)
        results = Results(
            json,
            data=dataset.name,
            split=split,
            seed=seed,
            users=protocol.users,
            command=options.command_line(),
        )
        shown: dict[str, Mapping[str, Any]] = {}
        for choice in _chosen(choices, models, protocol):
            told = _told(choice, own_history)
            known = results.models.get(choice.name, {})
            if again or not told.items() <= known.items():
                figures = protocol.measure(choice, again=again)
                if stopped := figures is None:
                    options.errors.print(f"{choice.name}: the same command goes on with its fit")
                    break
                known = results.add(choice.name, told, figures)
            shown[choice.name] = known
    options.console.print(_table(shown, RATING_FIGURES if split == K_FOLD else LIST_FIGURES))
    header, rows = tables.compared(
        {"models": shown, "seed": seed}, against if against in shown else None
    )
    if rows:
        options.console.print(_plain_table(header, rows))
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _chosen(choices: ModelChoices, models: str, protocol: ByLists | ByRatings) -> Iterator[Choice]:
    """Yield the choices; of all models, those that can be measured here."""
    for name in choices.names(models):
        try:
            if models != ALL or protocol.takes(choices.model(name)):
                yield choices.of(name)
        except ModuleNotFoundError as error:
            if models != ALL:
                raise
            options.errors.print(f"{name}: left out, as {error.name} is not installed")


def _told(choice: Choice, own_history: bool) -> dict[str, Any]:
    """Return what tells a result from another of the same name."""
    config = msgspec.json.decode(msgspec.json.encode(choice.config))  # as the file has it
    told = {"model": choice.model, "config": config}
    return told | ({"own_history": True} if own_history else {})


def _table(shown: Mapping[str, Mapping[str, Any]], figures: Sequence[str]) -> Table:
    rows = [
        [name, *(_cell(of_model, figure) for figure in figures), f"{of_model['fit_s']:,.1f}"]
        for name, of_model in shown.items()
    ]
    return _plain_table(["model", *figures, "fit s"], rows)


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose columns but the first are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if at else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _cell(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures:
        return ""
    if name.endswith("_us"):
        return f"{figures[name]:,.0f}"
    interval = figures.get(f"{name}_interval")
    within = "" if interval is None else f" ({interval[0]:.4f}–{interval[1]:.4f})"
    return f"{figures[name]:.4f}{within}"


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(evaluate)
