"""Fit one model on all but what it is chosen by, and write it into a folder, or as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from services.training.commands import options
from services.training.commands.choices import ModelChoices
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
from services.training.commands.under_way import INTERRUPTED, fits_under_way
from services.training.content.contents import ItemContents, contents_of
from services.training.data.over_time import earliest
from services.training.data.protocols import LEAVE_LAST_OUT, split_of
from services.training.data.splits import Asked, Split
from services.training.evaluation.measure import accuracy, answers
from services.training.models.model import Model, Run, ServedModel
from services.training.models.registry import MODELS, model_type
from shared.inputs.refusals import BadInput

CONTENTS: Final = "contents"  # folder beside the fits: what items look like and say, encoded once
DAY_ZERO: Final = "covisits"  # what ranks in a system without a bundle, nearly alone


def train(
    model: Annotated[str, typer.Argument(help="Its name, or one of the file of configurations.")],
    data: DataUnlessTopics = None,
    from_topics: FromTopics = False,
    config: ConfigFiles = None,
    preset: PresetName = "quick",
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write the model there, too.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Write a bundle of its towers there, for `freshet models publish`.",
        ),
    ] = None,
    posters: Posters = None,
    first: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Learn from so much of all events, the earliest: 0.5 is half."
        ),
    ] = 1.0,
    fits_folder: FitsFolder = options.FITS,
    again: Again = False,
) -> None:
    """Fit a model, chosen by each user's second last event; what was begun before goes on."""
    choices = ModelChoices(preset, config or ())
    choice = choices.of(model)
    if bundle is not None and not issubclass(model_type(choice.model), ServedModel):
        raise BadInput(
            f"--bundle is of a model that services run: {', '.join(served())}, was {choice.model}"
        )
    dataset = options.read_dataset(data, posters, fits_folder, from_topics=from_topics)
    if first < 1:
        dataset = earliest(dataset, first)
    split = split_of(LEAVE_LAST_OUT, dataset, seed)
    with fits_under_way(fits_folder, choices.of, seed=seed, device=device) as fits_on:
        fits = fits_on(split)
        fit = fits.fit(choice, again=again)
        day_zero = fits.fit(choices.of(DAY_ZERO)) if bundle is not None and fit.complete else None
    if out is not None:
        fit.model.save(out)
    where = fit.folder if out is None else out
    if not fit.complete:
        options.errors.print(f"the best so far is in {where}; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    options.console.print(f"{choice.name}: fitted in {fit.seconds:.1f} s, in {where}")
    if bundle is not None and day_zero is not None:
        run = Run(seed=seed, device=device)
        contents = contents_of(split.train, cache=fits_folder / CONTENTS)
        _write_bundle(bundle, fit.model, day_zero.model, split, contents, run)


def _write_bundle(
    folder: Path, model: Model, day_zero: Model, split: Split, contents: ItemContents, run: Run
) -> None:
    """Write a bundle with what it reaches beside day zero, and say so."""
    from services.training.export.bundle import write_trained_bundle

    assert isinstance(model, ServedModel)
    before = _reached(day_zero, split.test, run.seed)
    evaluation = {
        "data": split.train.name,
        "split": split.name,
        "seed": run.seed,
        **_reached(model, split.test, run.seed),
        "day_zero": before,
    }
    written = write_trained_bundle(folder, model, split.train, contents, evaluation, run)
    options.console.print(
        f"{folder}: bundle {written.space}, ndcg@10 {evaluation['ndcg@10']:.4f}, "
        f"day zero {before['ndcg@10']:.4f}"
    )


def served() -> list[str]:
    """Return the models that a bundle is written of."""
    return [name for name in MODELS if issubclass(model_type(name), ServedModel)]


def _reached(model: Model, asked: Asked, seed: int) -> dict[str, float]:
    figures = accuracy(answers(model.score, asked).ranks, seed)
    return {name: round(float(figures[name]), 6) for name in ("hr@10", "ndcg@10")}


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(train)
