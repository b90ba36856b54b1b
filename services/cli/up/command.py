"""Run everything for `freshet up`, showing where it is, until Ctrl-C."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from rich.console import Console
from rich.table import Table

from freshet.settings import without_password
from services.cli.addresses import Running
from services.cli.up.system import run_system

T = TypeVar("T")

SHOWN_FOR = {
    "kafka": "the log",
    "valkey": "user states",
    "embedding": "gRPC: Embedding",
    "sessions": "its health port",
    "ranking": "gRPC: Recommender",
    "gateway": "HTTP: the same for web shops, and a page that shows it",
}


def console_address(running: Running) -> str:
    """Return where the page is."""
    return f"http://{running.addresses.gateway}/console"


def table(running: Running, folder: Path) -> Table:
    """Return where everything is."""
    shown = Table(title="Freshet is ready", title_justify="left", box=None, padding=(0, 2))
    for column in ("", "address", "", "process"):
        shown.add_column(column, no_wrap=True)
    where = running.addresses
    addresses = {
        "kafka": where.kafka,
        "valkey": without_password(where.redis),
        "embedding": where.embedding,
        "sessions": where.health["sessions"],
        "ranking": where.ranking,
        "gateway": console_address(running),
    }
    for name, purpose in SHOWN_FOR.items():
        process = running.processes.get(name)
        shown.add_row(name, addresses[name], purpose, str(process) if process else "yours")
    shown.caption = f"data and logs in {folder}/ · Ctrl-C stops everything"
    shown.caption_justify = "left"
    return shown


def run_shown(
    folder: Path,
    console: Console,
    body: Callable[[Running], T],
    *,
    fresh: bool,
    environ: Mapping[str, str] = os.environ,
) -> T | None:
    """Run everything while `body` runs, showing on the console what happens; return its result.

    Ctrl-C, SIGTERM and a closed terminal end it in peace, also before it is ready: None then.
    Raises what run_system and the body raise.
    """
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(line, highlight=False)

    def progress(waiting_for: list[str]) -> None:
        status.update(f"waiting for {', '.join(waiting_for)}")

    try:
        with (
            console.status("starting") as status,
            run_system(
                folder, fresh=fresh, environ=environ, tell=tell, progress=progress
            ) as running,
        ):
            status.stop()
            console.print(table(running, folder))
            console.print(f"ready after {time.monotonic() - began:.1f} s", highlight=False)
            try:
                return body(running)
            finally:
                status.update("stopping")
                status.start()
    except KeyboardInterrupt:
        console.print("stopped; the next start finds everything again", highlight=False)
        return None


def until_interrupted(running: Running) -> NoReturn:
    """Wait for Ctrl-C: the body of `freshet up`."""
    while True:
        time.sleep(3600)
