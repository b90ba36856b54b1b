"""What reaches a terminal: texts as they are, in what it can show."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Group
from typer.testing import CliRunner

from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import state_pb2
from services.cli import lists, terminal
from services.cli.__main__ import app
from services.cli.terminal import Bars, Terminal, columns
from tests.servers import ROOT

TITLES = ("AC[/DC] live", "[bold red]Lamp[/]", ":smile:", "[link=https://x]x[/link]")


def _shown(what: object, width: int = 80) -> str:
    console = Terminal()
    console.width = width
    with console.capture() as captured:
        console.print(what)
    return captured.get()


@pytest.mark.parametrize("title", TITLES)
def test_titles_are_no_markup_in_any_answer(title: str) -> None:
    item = pb.RankedItem(item_id="a", title=title, reason=f"like {title}")
    state = state_pb2.UserState(
        user_id="u", history=[state_pb2.HistoryEntry(item_id=title, type=title, title=title)]
    )
    state.user.attributes[title].text = title
    for answer in (
        lists.ranked(pb.RecommendResponse(items=[item]), explain=True),
        lists.ranked(pb.SearchResponse(items=[item])),
        lists.explanation(pb.ExplainResponse(item=item)),
        lists.user_state(pb.StateResponse(state=state, known=True)),
        title,
    ):
        assert title in _shown(answer, width=200)


def test_control_characters_of_a_title_do_not_reach_the_terminal() -> None:
    table = columns("title")
    table.add_row("\x1b[31mred\x07 \x9b2J \u202eturned")

    shown = _shown(Group(table, "\x1b]0;owned\x07"))

    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "�[31mred� �2J �turned" in shown


def test_words_and_emoji_keep_what_joins_them() -> None:
    assert terminal.visible("می\u200cخواهم 👩\u200d🍳\n") == "می\u200cخواهم 👩\u200d🍳\n"


PROGRAM = """
from services.cli import options, terminal
terminal.prepare_streams()
table = terminal.columns("title", "why")
table.add_row("Größe “M” · 鍋…", "−1 → ł")
options.console.print(table)
terminal.print_json({"title": "Größe"})
with options.progress_bars() as bars:
    bars.add("folding", 2).reach(1)
"""


def _run(**environ: str) -> subprocess.CompletedProcess[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    own.pop("LANG", None)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**own, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        check=True,
    )


@pytest.mark.parametrize(
    "environ", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C"}, {"LC_ALL": "POSIX"}], ids=str
)
def test_ascii_terminals_get_ascii_in_the_same_columns(environ: dict[str, str]) -> None:
    done = _run(**environ)

    assert done.stderr.isascii()
    text = done.stdout.decode("ascii")
    assert 'Gro?e "M" | ??.  -1 > ?' in text
    assert json.loads(text[text.index("{") :]) == {"title": "Größe"}


def test_other_terminals_get_everything() -> None:
    assert "Größe “M” · 鍋…" in _run(LANG="C.UTF-8").stdout.decode()


def test_no_bar_shows_before_something_is_done() -> None:
    stream = io.StringIO()
    console = Terminal()
    console.file = stream

    with Bars(console) as bars:
        bars.add("publishing items")  # and the first line is bad

    assert stream.getvalue() == ""


def test_bars_show_how_long_and_how_fast() -> None:
    stream = io.StringIO()
    console = Terminal()
    console.file = stream

    with Bars(console) as bars:
        bar = bars.add("publishing items", total=2_000)
        for done in (500, 1_000, 2_000):
            bar.reach(done)

    assert "2000/2000" in stream.getvalue()
    assert "/s 0:00:0" in stream.getvalue()


@pytest.mark.parametrize("command", [(), ("status",), ("import",), ("import", "files"), ("items",)])
def test_h_helps_with_every_command(command: tuple[str, ...]) -> None:
    short = CliRunner().invoke(app, [*command, "-h"])

    assert short.exit_code == 0
    assert short.output == CliRunner().invoke(app, [*command, "--help"]).output


def test_the_version_is_told() -> None:
    told = CliRunner().invoke(app, ["--version"])

    assert told.exit_code == 0
    assert told.output.startswith("freshet ")


def test_what_is_counted_stands_in_singular_or_plural() -> None:
    assert [terminal.counted(count, "item") for count in (0, 1, 1_000)] == [
        "0 items",
        "1 item",
        "1,000 items",
    ]
