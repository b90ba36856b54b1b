"""What a Markdown page shows a reader: its code blocks, commands, links and paths. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the heading that it stands under, its language, its text."""

    heading: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return a page's fenced blocks in order."""
    return [
        Block(_headings(page[: found.start()])[-1], found[1], found[2])
        for found in _FENCE.finditer(page)
    ]


def _headings(page: str) -> list[str]:
    return _HEADING.findall(_FENCE.sub("", page))


def anchors(page: str) -> set[str]:
    """Return the fragments that links into the page may name."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _headings(page))
    return {heading.replace(" ", "-") for heading in kept}


def links(page: str) -> list[str]:
    """Return the targets of links and pictures that are no web addresses."""
    found = _LINK.findall(_FENCE.sub("", page))
    return [target for target in found if not re.match(r"\w+://|mailto:", target)]


def commands(page: str) -> Iterator[str]:
    """Yield what a reader may type: lines of shell blocks and indented blocks, and code spans."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").replace("|\n", "| ").splitlines():
                yield line.split("  #")[0].strip()
    rest = _FENCE.sub("", page)
    for line in re.findall(r"^    (\S.*)$", rest, re.MULTILINE):
        yield line.strip()
    for span in _SPAN.findall(rest):
        yield span.strip()
