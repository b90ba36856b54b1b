"""Write to terminals: texts as they are, never as markup, and in ASCII where that is all there is.

What comes from data passes here on its way: `[bold]` in a title is shown, not obeyed, control
characters stand as `�`, and what the stream cannot encode is written by what is nearest to it.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.status import Status
from rich.table import Table
from rich.text import Text

PIPED_WIDTH: Final = 200  # columns where nobody's window sets them, so that nothing is cut
# Characters of our own texts, each by one of ASCII, so that columns stay where they are.
ASCII_FOR: Final = str.maketrans("·−–—…→“”‘’•×�", "|---.>\"\"''*x?")
NEAREST: Final = "freshet-nearest"  # the error handler's name
_HARMLESS: Final = "\n"
_INVISIBLE: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))  # some of Cf turn text round
_JOINERS: Final = "\u200c\u200d\ufe0f"  # parts of words and emoji


class Terminal(Console):
    """A console on which every text is shown as it is."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        sized = stream.isatty() or "COLUMNS" in os.environ
        super().__init__(
            stderr=stderr,
            markup=False,
            emoji=False,
            highlight=False,
            width=None if sized else PIPED_WIDTH,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Make what rich shows of a text; rich itself calls this for every one."""
        return super().render_str(visible(text), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show what is under way, with a spinner that the stream can write."""
        spinner = "line" if self.options.ascii_only else "dots"
        return super().status(status, **{"spinner": spinner, **options})

    def say(self, text: str) -> None:
        """Print a sentence on one line, however long: what wraps it is the terminal."""
        self.print(text, soft_wrap=True)


def visible(text: str) -> str:
    """Return a text without what would move the cursor, change colours or turn text round."""
    if text.isprintable():
        return text
    return "".join(
        each
        if each in _HARMLESS or each in _JOINERS or unicodedata.category(each) not in _INVISIBLE
        else "�"
        for each in text
    )


def counted(count: int, what: str) -> str:
    """Write a number with its noun: `1 item`, `1,000 items`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def columns(*names: str, right: Collection[str] = ()) -> Table:
    """Return a table without lines, with columns of these names; right: those of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def prepare_streams(environ: Mapping[str, str] = os.environ) -> None:
    """Let standard output and error write any text, in ASCII where the locale is plain C."""
    codecs.register_error(NEAREST, _nearest)
    encoding = "ascii" if _is_plain_c(environ) else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=NEAREST)


def print_json(value: Any) -> None:
    """Print a result for programs; a stream that is not UTF-8 gets escapes, so nothing is lost."""
    print(json.dumps(value, ensure_ascii=not _is_utf8(sys.stdout), indent=2))


class Bars:
    """Progress bars, each of which shows from its first progress on."""

    def __init__(self, console: Console) -> None:
        shown = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*shown, console=console)
        self._shown = False

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._shown:
            self._progress.stop()

    def add(self, what: str, total: int | None = None) -> Bar:
        """Make one bar more; total: None while nobody knows."""
        return Bar(self._show, self._progress.add_task(what, total=total, visible=False))

    def _show(self, task: TaskID, **changes: Any) -> None:
        if not self._shown:
            self._progress.start()
            self._shown = True
        if not self._progress.tasks[task].visible:
            self._progress.reset(task)  # time counts from here
        self._progress.update(task, visible=True, **changes)


class Bar:
    """One progress bar."""

    def __init__(self, show: Callable[..., None], task: TaskID) -> None:
        self._show = show
        self._task = task

    def advance(self) -> None:
        """Show that one more is done."""
        self._show(self._task, advance=1)

    def reach(self, completed: int, *, total: int | None = None, what: str | None = None) -> None:
        """Show how many are done, and where that has become known, of how many, and of what."""
        self._show(self._task, completed=completed, total=total, description=what)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f}/s" if rate else "", justify="right", style="progress.data.speed")


def _is_plain_c(environ: Mapping[str, str]) -> bool:
    """Say whether the locale is C by name: Python itself would write UTF-8 then.

    Python names C.UTF-8 in LC_CTYPE where LANG is C, so that one tells nothing.
    """
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8"):
        return False
    character_type = environ.get("LC_CTYPE")
    if character_type == "C.UTF-8":
        character_type = None
    named = environ.get("LC_ALL") or character_type or environ.get("LANG")
    return named in ("C", "POSIX")


def _is_utf8(stream: TextIO) -> bool:
    return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Write what cannot be encoded by ASCII of the same width: `é` as e, `鍋` as ??."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(map(_ascii_of, wrong)), error.end


def _ascii_of(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character.translate(ASCII_FOR))
    plain = "".join(each for each in plain if each.isascii())
    width = cell_len(character)
    return plain if len(plain) == width else "?" * width
