"""Fit one model on all but what it is chosen by, and write it into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.training.commands import options
from services.training.commands.choices import ModelChoices
from services.training.commands.options import (
    Again,
    ConfigFile,
    DataUnlessTopics,
    Device,
    FitsFolder,
    FromTopics,
    Posters,
    PresetName,
    Seed,
)
from services.training.commands.under_way import INTERRUPTED, FitBars, interruptible, stop_request
from services.training.data.protocols import LEAVE_LAST_OUT, split_of
from services.training.fits import Fits


def train(
    model: Annotated[str, typer.Argument(help="Its name, or one of the file of configurations.")],
    data: DataUnlessTopics = None,
    from_topics: FromTopics = False,
    config: ConfigFile = None,
    preset: PresetName = "quick",
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write the model there, too.")
    ] = None,
    posters: Posters = None,
    fits_folder: FitsFolder = options.FITS,
    again: Again = False,
) -> None:
    """Fit a model, chosen by each user's second last event; what was begun before goes on."""
    choices = ModelChoices(preset, config)
    choice = choices.of(model)
    dataset = options.read_dataset(data, posters, fits_folder, from_topics=from_topics)
    split = split_of(LEAVE_LAST_OUT, dataset, seed)
    stop = stop_request()
    with interruptible(stop), FitBars() as bars:
        fits = Fits(
            fits_folder,
            split,
            seed=seed,
            device=device,
            choose=choices.of,
            stop=stop,
            progress=bars.of,
        )
        fit = fits.fit(choice, again=again)
    if out is not None:
        fit.model.save(out)
    where = fit.folder if out is None else out
    if not fit.complete:
        options.errors.print(f"the best so far is in {where}; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    options.console.print(f"{choice.name}: fitted in {fit.seconds:.1f} s, in {where}")


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(train)
