"""Fit one model on all but what it is chosen by, and write it into a folder, or as a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from freshet.settings import from_environment
from services.ranking.stages.blend import BlendSettings
from services.training.commands import options
from services.training.commands.choices import ModelChoices
from services.training.commands.options import (
    Again,
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
from services.training.commands.under_way import FitBars, fits_under_way
from services.training.content.contents import DAY_ZERO as DAY_ZERO_BUNDLE
from services.training.content.contents import ItemContents, contents_of
from services.training.data.over_time import earliest
from services.training.data.protocols import LEAVE_LAST_OUT, split_of
from services.training.data.splits import Split
from services.training.evaluation.comparison import comparisons, of_lists
from services.training.evaluation.measure import accuracy, answers
from services.training.evaluation.ranks import Ranks
from services.training.models.model import Model, Run, ServedModel
from services.training.models.registry import MODELS, RANKER, model_type
from services.training.stopping import INTERRUPTED
from shared.inputs.refusals import BadInput

CONTENTS: Final = "contents"  # folder beside the fits: what items look like and say, encoded once
DAY_ZERO: Final = "covisits"  # what ranks in a system without a bundle, nearly alone


def train(
    model: Annotated[
        str, typer.Argument(help=f"A name of --config, or one of {', '.join(sorted(MODELS))}.")
    ],
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
    base: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help=f"The bundle whose encoders are kept, and for a {RANKER} its towers, too.",
            show_default="day zero's",
        ),
    ] = DAY_ZERO_BUNDLE,
    posters: Posters = None,
    columns: Map = None,
    time_unit: TimeUnit = None,
    encoding: Encoding = None,
    first: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Learn from so much of all events, the earliest: 0.5 is half."
        ),
    ] = 1.0,
    fits_folder: FitsFolder = options.FITS,
    again: Again = False,
) -> None:
    """Fit a model, chosen by each user's second last event; what was begun before goes on.

    `ranker` learns to rank by the features that serve, for a bundle; it has no fit to go on with.
    """
    choices = ModelChoices(preset, config or ())
    form = options.table_form(columns, time_unit, encoding)
    choice = None if model == RANKER else choices.of(model)
    if choice is None and bundle is None:
        raise BadInput(f"a {RANKER} is of a bundle: --bundle FOLDER says where it goes")
    if choice and bundle is not None and not issubclass(model_type(choice.model), ServedModel):
        known = ", ".join([*served(), RANKER])
        raise BadInput(f"--bundle is of a model that services run: {known}, was {choice.model}")
    dataset = options.read_dataset(data, posters, form, fits_folder, from_topics=from_topics)
    if first < 1:
        dataset = earliest(dataset, first)
    split = split_of(LEAVE_LAST_OUT, dataset, seed)
    if choice is None:
        assert bundle is not None
        _train_ranker(split, base, bundle, fits_folder, seed)
        return
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
        contents = contents_of(split.train, base, cache=fits_folder / CONTENTS)
        _write_bundle(bundle, fit.model, day_zero.model, split, contents, base, run)


def _write_bundle(
    folder: Path,
    model: Model,
    day_zero: Model,
    split: Split,
    contents: ItemContents,
    base: Path,
    run: Run,
) -> None:
    """Write a bundle with what it reaches beside day zero, and say so."""
    from services.training.export.bundle import write_trained_bundle

    assert isinstance(model, ServedModel)
    reached, before = (
        _reached(answers(each.score, split.test).ranks, run.seed) for each in (model, day_zero)
    )
    evaluation = _evaluation(split, run.seed, reached, before)
    written = write_trained_bundle(
        folder, model, split.train, contents, evaluation, run, encoders=base
    )
    options.console.print(
        f"{folder}: bundle {written.space}, ndcg@10 {reached['ndcg@10']:.4f}, "
        f"day zero {before['ndcg@10']:.4f}"
    )


def _train_ranker(split: Split, base: Path, folder: Path, fits_folder: Path, seed: int) -> None:
    """Fit a ranker over the live features, and write a bundle's copy with it."""
    from services.training.export.bundle import write_ranked_bundle
    from services.training.live.learning import (
        BLEND,
        CANDIDATES,
        WITHOUT_TOWER,
        learn_ranker,
        score_us,
    )

    settings = from_environment(BlendSettings, os.environ)
    contents = contents_of(split.train, base, cache=fits_folder / CONTENTS)
    with FitBars() as bars:
        learnt = learn_ranker(split, base, contents, settings, seed, bars.of(RANKER))
    reached = {name: _reached(ranks, seed) for name, ranks in learnt.ranks.items()}
    evaluation = _evaluation(split, seed, reached[RANKER], reached[WITHOUT_TOWER])
    written = write_ranked_bundle(folder, learnt.ranker, base, evaluation)
    of_users = {name: {"of_users": of_lists(ranks)} for name, ranks in learnt.ranks.items()}
    gained = comparisons(of_users, BLEND, seed)[RANKER]
    options.console.print(
        f"{folder}: bundle {written.space}, ndcg@10 {reached[RANKER]['ndcg@10']:.4f}, "
        f"the blend {reached[BLEND]['ndcg@10']:.4f} "
        f"(gain {gained.low:+.4f} to {gained.high:+.4f}), "
        f"day zero {reached[WITHOUT_TOWER]['ndcg@10']:.4f}; "
        f"{score_us(written):.0f} µs for {CANDIDATES} candidates"
    )


def _evaluation(
    split: Split, seed: int, reached: Mapping[str, float], day_zero: Mapping[str, float]
) -> dict[str, Any]:
    measured_on = {
        "data": split.train.name,
        "split": split.name,
        "seed": seed,
        "events": len(split.train.events.items),  # that it learnt from
    }
    return {**measured_on, **reached, "day_zero": day_zero}


def served() -> list[str]:
    """Return the models that a bundle is written of."""
    return [name for name in MODELS if issubclass(model_type(name), ServedModel)]


def _reached(ranks: Ranks, seed: int) -> dict[str, float]:
    figures = accuracy(ranks, seed)
    return {name: round(float(figures[name]), 6) for name in ("hr@10", "ndcg@10")}


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(train)
