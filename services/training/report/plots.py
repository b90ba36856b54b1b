"""Draw results: quality with intervals, by segments, costs against quality, training curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from services.training.report.tables import Result, by_quality, main_figure, segmented

WIDTH: Final = 8.0  # inches
ROW: Final = 0.26  # inches a model
SHOWN: Final = 6  # models in plots of lines: more cannot be told apart
# Where a point's name may stand: points from it, and which end of the name is there.
_BESIDE: Final = (((5, -2), "left"), ((-5, -2), "right"), ((0, 5), "center"), ((0, -10), "center"))

# One SVG is the same bytes for the same figures: ids are not drawn, no date is written.
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "freshet",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}


def plots(result: Result) -> dict[str, bytes]:
    """Return every plot that a result has figures for: name → SVG."""
    with mpl.rc_context(_STYLE):
        drawn = {"quality": _quality(result), "cost": _cost(result)}
        drawn |= {f"by-{by.replace('_', '-')}": _segments(result, by) for by in segmented(result)}
        if any(len(model.get("parts", ())) > 1 for model in result["models"].values()):
            drawn["parts"] = _parts(result)
        if any(model.get("curve") for model in result["models"].values()):
            drawn["training"] = _curves(result)
        return {name: _svg(figure) for name, figure in drawn.items()}


def _quality(result: Result) -> Figure:
    by = main_figure(result)
    models = by_quality(result)[::-1]
    figure, axes = _axes(0.8 + ROW * len(models))
    for row, (_, model) in enumerate(models):
        low, high = model.get(f"{by}_interval", (model[by], model[by]))
        axes.plot([low, high], [row, row], color="#7aa6d8", linewidth=3)
        axes.plot(model[by], row, "o", color="#1f4e87", markersize=5)
    axes.set_yticks(range(len(models)), [name for name, _ in models])
    axes.set_xlabel(f"{by} with its 95 % interval")
    return figure


def _cost(result: Result) -> Figure:
    by = main_figure(result)
    figure, axes = _axes(4.2)
    points = [(name, max(model["fit_s"], 0.01), model[by]) for name, model in by_quality(result)]
    _, seconds, reached = zip(*points, strict=True)
    axes.plot(seconds, reached, "o", color="#1f4e87", markersize=4)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("seconds to fit, on the machine that the table of costs names")
    axes.set_ylabel(by)
    figure.draw_without_rendering()
    _name(axes, points)
    return figure


def _name(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the name of each point of drawn axes beside it, the first first, none over another."""
    written: list[Bbox] = []
    for name, x, y in points:
        for offset, side in _BESIDE:
            text = axes.annotate(
                name, (x, y), offset, textcoords="offset points", fontsize=7, ha=side
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in written):
                written.append(box)
                break
            text.remove()


def _segments(result: Result, by: str) -> Figure:
    return _lines(
        [
            (name, model["by"][by])
            for name, model in by_quality(result)
            if by in model.get("by", {})
        ],
        by.replace("_", " "),
    )


def _parts(result: Result) -> Figure:
    told = [(name, model["parts"]) for name, model in by_quality(result) if model.get("parts")]
    return _lines(told, "part of the test")


def _lines(told: Sequence[tuple[str, Mapping[str, Any]]], by: str) -> Figure:
    """Draw NDCG@10 of models, (name, its figures by what stands at the axis), the best of them."""
    figure, axes = _axes(3.6)
    for name, figures in told[:SHOWN]:
        values = [each["ndcg@10"] for each in figures.values()]
        axes.plot(range(len(values)), values, marker="o", markersize=4, label=name)
        axes.set_xticks(range(len(values)), list(figures))
    axes.set_xlabel(by)
    axes.set_ylabel("ndcg@10")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _curves(result: Result) -> Figure:
    figure, axes = _axes(3.6)
    told = [(name, model["curve"]) for name, model in by_quality(result) if model.get("curve")]
    for name, curve in told[:SHOWN]:
        done, ndcg = zip(*curve, strict=True)
        axes.plot(done, ndcg, label=name)
    axes.set_xlabel("epochs")
    axes.set_ylabel("ndcg@10 of validation")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
