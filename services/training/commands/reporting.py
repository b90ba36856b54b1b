"""Turn results into a report that people read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from services.training.commands import options
from services.training.commands.options import Against
from shared.inputs.refusals import BadInput

PROTOCOL: Final = ("data", "split", "seed", "users", "models")


def report(
    results: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="What evaluate wrote by --json."),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Write it there.")] = Path("report"),
    against: Against = None,
) -> None:
    """Write a report, report.md and report.html: tables, plots with intervals, costs."""
    from services.training.report import pages
    from services.training.report.plots import plots

    read = [_read(file) for file in results]
    for file, result in zip(results, read, strict=True):
        options.check_known(against, result["models"], str(file))
    pictures: dict[str, bytes] = {}
    addresses: list[dict[str, str]] = []
    for file, result in zip(results, read, strict=True):
        drawn = {f"{file.stem}-{name}.svg": svg for name, svg in plots(result).items()}
        pictures |= drawn
        addresses.append({name.removeprefix(f"{file.stem}-")[:-4]: name for name in drawn})
    page = pages.markdown(read, addresses, against)
    out.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures.items():
        (out / name).write_bytes(svg)
    (out / "report.md").write_text(page)
    (out / "report.html").write_text(pages.html(page, pictures))
    options.console.print(f"{out / 'report.html'}, {out / 'report.md'}")


def _read(file: Path) -> dict[str, Any]:
    try:
        result = json.loads(file.read_text())
        missing = [name for name in PROTOCOL if name not in result]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file}: must hold results of evaluate: {error}") from None
    if missing or not result["models"]:
        raise BadInput(
            f"{file}: must hold results of evaluate, has no {', '.join(missing) or 'models'}"
        )
    return dict(result)


def add_to(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(report)
