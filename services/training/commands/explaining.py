"""Explain scores of the running system; `freshet explain` asks it for them and hands them in."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import typer
from rich.table import Table

from services.training.commands import options
from services.training.commands.options import Seed
from services.training.explanations.methods import METHODS, Explained, Method
from services.training.explanations.scoring import scoring_of
from shared.inputs.refusals import BadInput
from shared.scored_item import ScoredItem

OTHERS_AT_LEAST: Final = 2  # to say what is usual


def explain(
    method: Annotated[Method, typer.Option(help="How scores are split.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    seed: Seed = 0,
) -> None:
    """Split scores among features; reads an item, or a list of them, from standard input."""
    try:
        read = msgspec.json.decode(sys.stdin.buffer.read(), type=ScoredItem | list[ScoredItem])
    except msgspec.DecodeError as error:
        raise BadInput(f"standard input must hold scored items: {error}") from None
    items = read if isinstance(read, list) else [read]
    found = [(item, explained(item, method, seed)) for item in items]
    if as_json:
        told = [_told(item, method, each) for item, each in found]
        sys.stdout.write(json.dumps(told if isinstance(read, list) else told[0], indent=1) + "\n")
        return
    for item, each in found:
        options.console.print(f"{item.item_id}  {item.title}")
        options.console.print(f"{method} of the score by {item.ranker}")
        options.console.print(_table(item, each))


def explained(item: ScoredItem, method: Method, seed: int) -> Explained:
    """Split an item's score. Raises BadInput where there is nothing to compare it with."""
    if len(item.others) < OTHERS_AT_LEAST:
        raise BadInput(
            f"{item.item_id}: {OTHERS_AT_LEAST} other candidates or more must be there to compare"
            f" with, were {len(item.others)}"
        )
    values, others = np.array(item.values, np.float32), np.array(item.others, np.float32)
    return METHODS[method](scoring_of(item), values, others, seed)


def _told(item: ScoredItem, method: str, found: Explained) -> dict[str, Any]:
    columns = {"value": item.values, "contribution": found.contributions.tolist()}
    if found.weights is not None:
        columns["weight"] = found.weights.tolist()
    return {
        "user_id": item.user_id,
        "item_id": item.item_id,
        "title": item.title,
        "method": method,
        "ranker": item.ranker,
        "score": item.score,
        "base": found.base,
        "others": len(item.others),
        "features": [
            {"name": name, **dict(zip(columns, values, strict=True))}
            for name, *values in zip(item.names, *columns.values(), strict=True)
        ],
    }


def _table(item: ScoredItem, found: Explained) -> Table:
    """Return what features add, the most first, and what that sums to."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("feature")
    for name in ("value", "contribution", *([] if found.weights is None else ["a unit"])):
        table.add_column(name, justify="right")
    for at in np.argsort(-np.abs(found.contributions), kind="stable").tolist():
        if not found.contributions[at]:
            continue
        cells = [f"{item.values[at]:.3f}", f"{found.contributions[at]:+.3f}"]
        if found.weights is not None:
            cells.append(f"{found.weights[at]:+.3f}")
        table.add_row(item.names[at], *cells)
    table.add_row(f"{len(item.others)} others, as a rule", "", f"{found.base:+.3f}")
    if found.weights is not None:
        table.add_row("all of it", "", f"{found.base + found.contributions.sum():+.3f}")
    table.add_row("score", "", f"{item.score:+.3f}")
    return table


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(explain)
