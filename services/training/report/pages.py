"""Write reports: one page in Markdown with its plots beside it, the same as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from markdown_it import MarkdownIt

from services.training.report import tables
from services.training.report.tables import Result

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:13px}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child{text-align:left}
pre{white-space:pre-wrap}
td{font-variant-numeric:tabular-nums}
img{max-width:100%}
@media (prefers-color-scheme:dark){body{background:#16181c;color:#e4e4e4}th,td{border-color:#444}
img{background:#fff}}
"""
_CAPTIONS: Final = {
    "quality": "What each model reaches.",
    "cost": "What that costs to fit.",
    "parts": "The best models in each part of the test.",
    "training": "How the best ones learnt.",
}
_COMPARED: Final = (
    "Differences with what 95 % of them lie between, by users drawn anew; p by models swapped at"
    " random for each user, times the number of comparisons as Holm has it."
)


def markdown(
    results: Sequence[Result], plots: Sequence[Mapping[str, str]], against: str | None = None
) -> str:
    """Return a page of all results.

    plots: for each, the address of each plot by name; against: the model that others are compared
    with, the best.
    """
    return "\n".join(["# What the models reach\n", *_sections(results, plots, against)])


def html(page: str, pictures: Mapping[str, bytes]) -> str:
    """Return a page of Markdown as HTML that needs no other file: pictures by their address."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(page)
    for address, svg in pictures.items():
        encoded = base64.b64encode(svg).decode()
        body = body.replace(f'src="{address}"', f'src="data:image/svg+xml;base64,{encoded}"')
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>What the models reach</title><style>{_STYLE}</style>\n"
        f"{body}</html>\n"
    )


def _sections(
    results: Sequence[Result], plots: Sequence[Mapping[str, str]], against: str | None
) -> Iterator[str]:
    for result, drawn in zip(results, plots, strict=True):
        yield f"## {tables.protocol(result)}\n"
        yield tables.command(result)
        yield tables.quality(result)
        yield from _plot(drawn, "quality")
        if compared := tables.comparisons(result, against):
            yield f"### Beyond chance\n\n{_COMPARED}\n"
            yield compared
        for figure in ("hr@50", "ndcg@10"):
            if of_parts := tables.parts(result, figure):
                yield of_parts
        yield from _plot(drawn, "parts")
        for by in tables.segmented(result):
            yield f"### By {by.replace('_', ' ')}\n"
            yield tables.segments(result, by)
            yield from _plot(drawn, f"by-{by.replace('_', '-')}")
        yield from _plot(drawn, "training")
        yield "### What it costs\n"
        yield tables.costs(result)
        yield from _plot(drawn, "cost")


def _plot(drawn: Mapping[str, str], name: str) -> Iterator[str]:
    if name in drawn:
        caption = _CAPTIONS.get(name, f"The best models {name.replace('-', ' ')}.")
        yield f"![{caption}]({drawn[name]})\n"
