"""No command begins with an address that is none, and none asks this machine through a proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer

from services.cli.__main__ import app, main
from services.cli.commands import training

FILE, FOLDER = "FILE", "FOLDER"
COMMANDS = [
    ["up"],
    ["demo"],
    ["recommend", "ada"],
    ["explain", "ada", "mug"],
    ["similar", "mug"],
    ["search", "--text", "mug"],
    ["state", "ada"],
    ["forget", "ada"],
    ["status"],
    ["dead-letters"],
    ["snapshot"],
    ["adopt-log"],
    ["activate", "day-zero"],
    ["import", "files", "--items", FILE],
    ["import", "movielens", FOLDER],
    ["items", "publish", FILE],
    ["items", "delete", "mug"],
    ["offers", "publish", FILE],
    ["users", "publish", FILE],
    ["users", "delete", "a"],
    ["events", "publish", FILE],
    ["models", "publish", FOLDER],
    ["models", "list"],
    ["models", "rollback"],
]
GROUPS = {"import", "items", "offers", "users", "events", "models"}
WITHOUT_ADDRESSES = {("models", "build"), ("token",), ("public-key",), ("keys",), ("replay",)}
WITHOUT_ADDRESSES |= {(name,) for name in training.COMMANDS}


def words(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command at or under this one."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, each in command.commands.items():
        yield from words(each, *path, name)


def test_every_command_is_among_these() -> None:
    named = {tuple(command[: 2 if command[0] in GROUPS else 1]) for command in COMMANDS}
    assert named | WITHOUT_ADDRESSES == set(words(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("REDIS_URL", "localhost:6379", "'localhost:6379'"),
        ("REDIS_URL", "", "''"),
        ("REDIS_URL", "valkey://shop:pa55@h", "'valkey://***@h'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:abc", "'localhost:abc'"),
    ],
)
def test_a_bad_address_ends_each_command_with_one_line(
    command: list[str],
    variable: str,
    value: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, movies = tmp_path / "items.jsonl", tmp_path / "movies"
    file.write_text("")
    movies.mkdir()
    (movies / "ml-1m.txt").write_text("1 1\n1 2\n")
    (movies / "movies.dat").write_text("1::Toy Story (1995)::Comedy\n2::Heat (1995)::Crime\n")
    given = {FILE: str(file), FOLDER: str(movies)}
    arguments = [given.get(word, word) for word in command]
    monkeypatch.setattr(sys, "argv", ["freshet", *arguments, "--data", str(tmp_path / "data")])
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"freshet: {variable} must be ")
    assert line.endswith(f", was {shown}")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ready": true}')

    def log_message(self, format: str, *args: object) -> None:
        pass


ASK = """\
import json, sys
from services.cli.endpoints import health_page
import requests  # which fetches the jars
address = sys.argv[1]
print(json.dumps([health_page(address, "status"), requests.get(f"http://{address}/").json()]))
"""


def test_this_machine_is_not_asked_through_a_proxy() -> None:
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxies = {"http_proxy": "http://127.0.0.1:1", "NO_PROXY": "example.org"}
        asked = subprocess.run(
            [sys.executable, "-c", ASK, f"127.0.0.1:{server.server_port}"],
            env={name: value for name, value in os.environ.items() if name != "no_proxy"} | proxies,
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == [{"ready": True}] * 2
