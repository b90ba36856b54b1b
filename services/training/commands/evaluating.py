"""Measure models under one protocol: a table on the screen, and results in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from services.training.commands import options
from services.training.commands.choices import ALL, ModelChoices
from services.training.commands.options import (
    Again,
    ConfigFiles,
    DataUnlessTopics,
    Device,
    FitsFolder,
    FromTopics,
    Posters,
    PresetName,
    Seed,
)
from services.training.commands.under_way import INTERRUPTED, FitBars, interruptible, stop_request
from services.training.data.protocols import K_FOLD, LEAVE_LAST_OUT, NAMES, split_of
from services.training.evaluation.by_lists import ByLists
from services.training.evaluation.by_ratings import ByRatings
from services.training.evaluation.results import Results
from services.training.fits import Choice, Fits

LIST_FIGURES: Final = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "score_us")
RATING_FIGURES: Final = ("rmse", "mae")


def evaluate(
    models: Annotated[str, typer.Option(help=f"Names with commas between, or {ALL}.")],
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
    fits_folder: FitsFolder = options.FITS,
    again: Again = False,
    own_history: Annotated[
        bool, typer.Option("--own-history", help="Rank what a user has chosen already, too.")
    ] = False,
) -> None:
    """Fit models and measure them on what they have not seen, over the whole catalogue.

    Models whose results stand in the JSON file already, by the same configuration, are left.
    """
    choices = ModelChoices(preset, config or ())
    choices.names(models)  # refuses what is none, before anything else is done
    dataset = options.read_dataset(data, posters, fits_folder, from_topics=from_topics)
    stop = stop_request()
    with interruptible(stop), FitBars() as bars:
        make_fits = partial(
            Fits,
            fits_folder,
            seed=seed,
            device=device,
            choose=choices.of,
            stop=stop,
            progress=bars.of,
        )
        protocol: ByLists | ByRatings
        if split == K_FOLD:
            protocol = ByRatings(dataset, make_fits, seed)
        else:
            parted = split_of(split, dataset, seed, data)
            protocol = ByLists(parted, make_fits(parted), seed, own_history=own_history)
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
                if figures is None:
                    options.errors.print(f"{choice.name}: the same command goes on with its fit")
                    break
                known = results.add(choice.name, told, figures)
            shown[choice.name] = known
    options.console.print(_table(shown, RATING_FIGURES if split == K_FOLD else LIST_FIGURES))
    if stop.made:
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
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model")
    for figure in (*figures, "fit s"):
        table.add_column(figure, justify="right")
    for name, of_model in shown.items():
        cells = [_cell(of_model, figure) for figure in figures]
        table.add_row(name, *cells, f"{of_model['fit_s']:,.1f}")
    return table


def _cell(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures:
        return ""
    interval = figures.get(f"{name}_interval")
    within = "" if interval is None else f" ({interval[0]:.4f}–{interval[1]:.4f})"
    return f"{figures[name]:.4g}{within}"


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(evaluate)
