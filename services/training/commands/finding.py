"""Measure what a bundle's texts and pictures find, without any event."""

from __future__ import annotations

import json as json_text
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.table import Table

from services.training.commands import options
from services.training.commands.options import Data, Encoding, Map, Posters, Seed
from services.training.content.contents import DAY_ZERO
from services.training.content.findings import (
    NEIGHBOURS,
    OF_A_WORD,
    colour_histograms,
    found_by_word,
    ranks_of_targets,
    shared_by_chance,
    shared_categories,
    without_a_word,
)
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from services.training.data.read import read
from services.training.evaluation.lists import category_flags
from services.training.evaluation.significance import intervals
from services.training.fits import PROCESSORS, machine
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import decode
from shared.inputs.refusals import BadInput

AT_ONCE: Final = 64  # pictures that stand decoded in memory

Figures = dict[str, Any]


def evaluate_content(
    data: Data,
    posters: Posters = None,
    columns: Map = None,
    encoding: Encoding = None,
    bundle: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder of the model bundle.")
    ] = DAY_ZERO,
    json: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Keep results there.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Measure what texts and pictures find: neighbours of one kind, and titles by their words.

    Categories are what is asked for, so the items' texts are their titles alone. Takes about a
    minute a thousand pictures on a core.
    """
    dataset = read(data, posters, options.table_form(columns, None, encoding))
    if not any(_complete(dataset, item_id) for item_id in dataset.item_ids):
        raise BadInput(f"{data}: must have items with title, category and picture (--posters)")
    began = time.monotonic()
    figures = content_figures(dataset, bundle, seed)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        described = {
            "data": dataset.name,
            "bundle": bundle.name,
            "seed": seed,
            "items": sum(_complete(dataset, item_id) for item_id in dataset.item_ids),
            "command": options.command_line(),
            "seconds": round(time.monotonic() - began, 1),
            "machine": machine(PROCESSORS),
            **figures,
        }
        json.write_text(json_text.dumps(described, indent=1) + "\n")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("measured", "by", "figure"):
        table.add_column(column, justify="right" if column == "figure" else "left")
    for measured, ways in figures.items():
        for way, figure in ways.items():
            low, high = figure["interval"]
            table.add_row(measured, way, f"{figure['value']:.4f} ({low:.4f}–{high:.4f})")
    options.console.print(table)


def content_figures(data: Dataset, bundle_folder: Path, seed: int) -> dict[str, Figures]:
    """Return each figure by what it measures and by what it is found."""
    bundle = Bundle.load(bundle_folder)
    encoders, fusion = Encoders(bundle), Fusion.load(bundle.files["fusion.npz"])
    shown = [row for row, item in enumerate(data.item_ids) if _complete(data, item)]
    flags = category_flags(data)[shown].astype(bool)
    titles = [data.items[data.item_ids[row]].title for row in shown]
    features, histograms = _pictures(encoders, [data.pictures[data.item_ids[row]] for row in shown])
    said = encoders.encode_texts(titles)
    fused = fusion.fuse(features, said)
    assert fused.image_vector is not None
    assert fused.text_vector is not None
    ways = {"text": fused.text_vector, "picture": fused.image_vector, "both": fused.vector}

    rng = np.random.default_rng(seed)
    partial = [without_a_word(title, rng) for title in titles]
    asked = np.array([row for row, text in enumerate(partial) if text])
    queries = fusion.query_text(encoders.encode_texts([text for text in partial if text]))
    names = sorted({name for item in data.items.values() for name in item.categories})
    words = fusion.query_text(encoders.encode_texts([name.lower() for name in names]))

    def told(values: Floats) -> Figures:
        low, high = (float(bound[0]) for bound in intervals(np.asarray(values)[:, None], seed))
        mean = round(float(np.mean(values)), 4)
        return {"value": mean, "interval": [round(low, 4), round(high, 4)]}

    return {
        f"neighbours@{NEIGHBOURS} share a category": {
            "chance": told(shared_by_chance(flags)),
            "colour histograms": told(shared_categories(histograms, flags)),
            **{way: told(shared_categories(vectors, flags)) for way, vectors in ways.items()},
        },
        "title less a word, hr@10": {
            way: told((ranks_of_targets(queries, vectors, asked) < 10).astype(np.float64))
            for way, vectors in ways.items()
        },
        f"name of a category, p@{OF_A_WORD}": {
            "chance": told(flags.mean(axis=0)),
            **{way: told(found_by_word(words, vectors, flags)) for way, vectors in ways.items()},
        },
    }


def _complete(data: Dataset, item_id: str) -> bool:
    item = data.items.get(item_id)
    known = item is not None and bool(item.title and item.categories)
    return known and item_id in data.pictures


def _pictures(encoders: Encoders, paths: Sequence[Path]) -> tuple[Floats, Floats]:
    """Return (n, F) features and (n, 64) histograms of pictures, some at a time."""
    features, histograms = [], []
    for start in range(0, len(paths), AT_ONCE):
        pictures = np.stack([decode(path.read_bytes()) for path in paths[start : start + AT_ONCE]])
        features.append(encoders.encode_images(pictures))
        histograms.append(colour_histograms(pictures))
    return np.concatenate(features), np.concatenate(histograms)


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(evaluate_content)
