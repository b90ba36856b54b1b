"""Measure models under one protocol: a table on the screen, and results in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from services.training.commands import options
from services.training.commands.choices import ALL, Choices
from services.training.commands.options import (
    INTERRUPTED,
    Again,
    Bars,
    ConfigFile,
    Data,
    Device,
    FitsFolder,
    Posters,
    PresetName,
    Seed,
    StopRequest,
)
from services.training.data.protocols import LEAVE_LAST_OUT, SPLITS, split_of
from services.training.data.read import read
from services.training.data.splits import Asked, Split
from services.training.evaluation.measure import (
    Answers,
    Figures,
    ListFigures,
    accuracy,
    answers,
)
from services.training.evaluation.results import Results
from services.training.fits import Choice, Fit, Fits
from services.training.models.model import Model

SHOWN: Final = ("hr@10", "ndcg@10", "mrr@10", "coverage@10")


def evaluate(
    data: Data,
    models: Annotated[str, typer.Option(help=f"Names with commas between, or {ALL}.")],
    split: Annotated[
        str, typer.Option(help=f"How events are parted: {', '.join(SPLITS)}.")
    ] = LEAVE_LAST_OUT,
    json: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Keep results there.")
    ] = None,
    config: ConfigFile = None,
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
    choices = Choices(preset, config)
    names = choices.names(models)
    parted = split_of(split, read(data, posters), seed)
    name_of_data = parted.train.name
    results = Results(json, data=name_of_data, split=split, seed=seed, users=len(parted.test))
    asking = Asking(parted, seed, own_history=own_history)
    shown: dict[str, Mapping[str, Any]] = {}
    stop = StopRequest()
    with stop.heard(), Bars() as bars:
        fits = Fits(
            fits_folder,
            parted,
            seed=seed,
            device=device,
            choose=choices.of,
            stopped=stop,
            progress=bars.of,
        )
        for name in names:
            try:
                choice = choices.of(name)
                told = _told(choice, own_history)
                known = results.models.get(name, {})
                if not again and told.items() <= known.items():
                    shown[name] = known
                    continue
                fit = fits.fit(choice, again=again)
            except ModuleNotFoundError as error:
                if models != ALL:
                    raise
                options.errors.print(f"{name}: left out, as {error.name} is not installed")
                continue
            if not fit.complete:
                options.errors.print(f"{name}: the same command goes on with its fit")
                break
            shown[name] = told | _cost(fit) | asking.figures(fit.model)
            results.add(name, shown[name])
    options.console.print(_table(shown))
    if stop.made:
        raise typer.Exit(INTERRUPTED)


class Asking:
    """Asks fitted models, all of them the same."""

    def __init__(self, split: Split, seed: int, *, own_history: bool) -> None:
        self._split = split
        self._seed = seed
        self._own_history = own_history
        self._lists = ListFigures(split.train)

    def figures(self, model: Model) -> dict[str, Any]:
        """Return all that is measured; validation and parts in tables of their own."""
        tested = self._answers(model, self._split.test)
        validated = self._answers(model, self._split.validation)
        return {
            **self._of(tested),
            "score_us": round(tested.score_us, 1),
            "validation": accuracy(validated.ranks, self._seed),
            "parts": {
                name: self._of(self._answers(model, asked))
                for name, asked in self._split.parts.items()
            },
        }

    def _answers(self, model: Model, asked: Asked) -> Answers:
        return answers(model.score, asked, own_history=self._own_history)

    def _of(self, said: Answers) -> Figures:
        return {
            **accuracy(said.ranks, self._seed),
            **self._lists.of(said.first, said.asked.histories),
        }


def _told(choice: Choice, own_history: bool) -> dict[str, Any]:
    """Return what tells a result from another of the same name."""
    told = {"model": choice.model, "config": msgspec.to_builtins(choice.config)}
    return told | ({"own_history": True} if own_history else {})


def _cost(fit: Fit) -> dict[str, Any]:
    return {
        "fit_s": round(fit.seconds, 1),
        "parameters": sum(int(each.size) for each in fit.model.tensors().values()),
        "machine": fit.machine,
    }


def _table(shown: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model")
    for name in (*SHOWN, "fit s", "µs a user"):
        table.add_column(name, justify="right")
    for name, figures in shown.items():
        cells = [_cell(figures, each) for each in SHOWN]
        table.add_row(name, *cells, f"{figures['fit_s']:,.1f}", f"{figures['score_us']:,.0f}")
    return table


def _cell(figures: Mapping[str, Any], name: str) -> str:
    interval = figures.get(f"{name}_interval")
    within = "" if interval is None else f" ({interval[0]:.4f}–{interval[1]:.4f})"
    return f"{figures[name]:.4f}{within}"


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(evaluate)
