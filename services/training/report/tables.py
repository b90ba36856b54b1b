"""Write results as tables in Markdown, from what `freshet evaluate --json` keeps. Pure.

A result is a JSON object: the protocol (`data`, `split`, `seed`, `users`) and `models`, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from services.training.evaluation import comparison

Result = Mapping[str, Any]
Model = Mapping[str, Any]

LISTS: Final = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "novelty@10", "diversity@10")
RATINGS: Final = ("rmse", "mae")
PROBABILITIES: Final = ("auc", "log_loss", "calibration_error")
_ASCENDING: Final = frozenset({"rmse", "mae", "log_loss"})  # where less is better


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def by_quality(result: Result, figure: str | None = None) -> list[tuple[str, Model]]:
    """Return the models by name, the best first by a figure: NDCG@10, or RMSE of ratings."""
    models: Mapping[str, Model] = result["models"]
    by = figure or main_figure(result)
    return sorted(
        models.items(),
        key=lambda named: named[1].get(by, float("inf")) * (1 if by in _ASCENDING else -1),
    )


def main_figure(result: Result) -> str:
    """Return what models of a result are compared by."""
    models = result["models"].values()
    return "ndcg@10" if any("ndcg@10" in model for model in models) else "rmse"


def quality(result: Result) -> str:
    """Return all models with what they reach, the best first; 95 % intervals in brackets."""
    models = by_quality(result)
    shown = (
        name
        for name in (*LISTS, *RATINGS, *PROBABILITIES)
        if any(name in model for _, model in models)
    )
    return figures(result, *shown)


def figures(result: Result, *names: str) -> str:
    """Return some figures of the models that have any of them, the best first."""
    rows = [
        [name, *(cell(model, figure) for figure in names)]
        for name, model in by_quality(result)
        if any(figure in model for figure in names)
    ]
    return markdown_table(["model", *(name.replace("_", " ") for name in names)], rows)


def comparisons(result: Result, against: str | None = None) -> str:
    """Return `compared` as a table, "" where there is nothing to compare."""
    header, rows = compared(result, against)
    return markdown_table(header, rows) if rows else ""


def compared(result: Result, against: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Return how the others compare with one model, user by user: header, and rows, nearest first.

    against: the model, else the best one of those whose results keep what it takes.
    """
    models = dict(by_quality(result))
    kept = [name for name, model in models.items() if "of_users" in model]
    if not kept:
        return [], []
    against = against or kept[0]
    found = comparison.comparisons(models, against, result["seed"])
    rows = [
        [name, *_told(each)]
        for name, each in sorted(found.items(), key=lambda named: abs(named[1].difference))
    ]
    header = [f"{main_figure(result)} less that of {against}", "difference", "p", "significant"]
    return header, rows


def variants(result: Result) -> str:
    """Return what each variant of a model that stands there, too, comes to beside it."""
    models, by = result["models"], main_figure(result)
    rows = []
    for model in dict.fromkeys(each["model"] for each in models.values()):
        named = {name: each for name, each in models.items() if each["model"] == model}
        if model not in named or len(named) == 1:
            continue
        found = comparison.comparisons(named, model, result["seed"])
        for name, each in named.items():
            compared = _told(found[name]) if name in found else ["", "", ""]
            rows.append([name, cell(each, by), *compared])
    return markdown_table(["variant", by, "less its model's", "p", "significant"], rows)


def _told(found: comparison.Comparison) -> list[str]:
    return [
        f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        f"{found.p:.3f}",
        "yes" if found.is_significant else "no",
    ]


def costs(result: Result) -> str:
    """Return what each model costs: to fit, to hold and to ask; the cheapest to fit first."""
    models = sorted(result["models"].items(), key=lambda named: named[1]["fit_s"])
    rows = [
        [
            name,
            f"{model['fit_s']:,.1f}",
            f"{model['parameters']:,}",
            f"{model['score_us']:,.0f}" if "score_us" in model else "",
            str(model["machine"]),
        ]
        for name, model in models
    ]
    return markdown_table(["model", "fit s", "parameters", "µs a request", "on"], rows)


def parts(result: Result, figure: str) -> str:
    """Return a figure of each model in each part of the test, and in all of it."""
    models = by_quality(result, figure)
    names = list(dict.fromkeys(part for _, model in models for part in model.get("parts", {})))
    rows = [
        [name, cell(model, figure), *(cell(model["parts"].get(part, {}), figure) for part in names)]
        for name, model in models
        if model.get("parts")
    ]
    return markdown_table([figure, "all", *names], rows) if rows else ""


def segments(result: Result, by: str, figure: str = "ndcg@10") -> str:
    """Return a figure of each model for segments of users or items; "" where none were told."""
    models = [(name, model) for name, model in by_quality(result) if by in model.get("by", {})]
    if not models:
        return ""
    names = list(models[0][1]["by"][by])
    sizes = [models[0][1]["by"][by][segment]["users"] for segment in names]
    header = [figure, *(f"{name} ({size:,})" for name, size in zip(names, sizes, strict=True))]
    rows = [
        [name, *(cell(model["by"][by].get(segment, {}), figure) for segment in names)]
        for name, model in models
    ]
    return markdown_table(header, rows)


def segmented(result: Result) -> Iterator[str]:
    """Yield by what the results tell segments apart: two of them at least."""
    models = result["models"].values()
    told = (by for model in models for by, parts in model.get("by", {}).items() if len(parts) > 1)
    yield from dict.fromkeys(told)


def cell(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure with its interval, "" where it was not measured."""
    if name not in figures:
        return ""
    value = f"{figures[name]:.4f}" if abs(figures[name]) < 10 else f"{figures[name]:.2f}"
    low_high = figures.get(f"{name}_interval")
    return value if low_high is None else f"{value} [{low_high[0]:.4f}, {low_high[1]:.4f}]"


def protocol(result: Result) -> str:
    """Return what was measured how, in a sentence."""
    users = f"{result['users']:,} users"
    return f"{result['data']}, {result['split']}, {users} asked, seed {result['seed']}"


def measured(result: Result) -> str:
    """Return the command that measured it, who was asked, and how long fits took on what.

    Where nothing was fitted: how long it took to measure.
    """
    fitted, asked = _seconds(result, "fit_s"), _seconds(result, "took_s")
    told = [f"{result['users']:,} users, seed {result['seed']}"]
    told += [f"fits: {fitted}"] if fitted else []
    told += [f"measured in {asked}"] if asked else []
    return command(result) + f"\n{'; '.join(told)}.\n"


def _seconds(result: Result, figure: str) -> str:
    """Return how long it took in all on each machine."""
    seconds: dict[str, float] = {}
    for model in result["models"].values():
        fits = len(model.get("rmse_folds", "1"))  # of folds, it is the mean
        where = model["machine"]
        seconds[where] = seconds.get(where, 0.0) + fits * model.get(figure, 0.0)
    return ", ".join(f"{_duration(each)} on {where}" for where, each in seconds.items() if each)


def command(result: Result) -> str:
    """Return what made a result, as a block of code; "" where it is not told."""
    return f"    {result['command']}\n" if "command" in result else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
