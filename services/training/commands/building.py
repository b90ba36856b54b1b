"""Make a bundle of encoders with another CNN."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.training.commands import options
from services.training.commands.under_way import FitBars
from shared.inputs.refusals import BadInput


def build_bundle(
    folder: Annotated[Path, typer.Argument(help="Where the bundle goes.")],
    image: Annotated[str, typer.Option(help="torchvision:NAME, as torchvision names the model.")],
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="For tests: weights drawn, none fetched.")
    ] = False,
) -> None:
    """Make the day-zero bundle with another CNN in place of its own, the fusion learnt anew."""
    from deploy.models.export.build import build
    from deploy.models.export.sources import SourcesUnavailable
    from deploy.models.export.weights import BadWeights
    from services.training.export.cnn import picture_model

    with FitBars() as bars:
        bar = bars.of("building")
        try:
            bundle = build(
                folder,
                lambda step, share: bar.step(share, 1),
                picture_model=lambda _: picture_model(image, random_weights=random_weights),
            )
        except (BadWeights, SourcesUnavailable) as error:
            raise BadInput(str(error)) from None
    options.console.print(f"{folder}: {bundle.space}, {bundle.dim} dimensions")


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(build_bundle)
