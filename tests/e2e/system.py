"""`freshet up` as a user runs it, and the endpoints that tests ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from freshet.kafka_clients import KafkaSettings
from freshet.settings import from_environment
from services.cli.addresses import Running, read_running
from tests.servers import ROOT

READY_WITHIN_S = 120.0
COMMAND_WITHIN_S = 600.0  # an import on a busy machine


class Up:
    """One `freshet up` on a data folder; `start` may follow `kill` and `stop`.

    Leaving its `with` block ends it, whatever happened.
    """

    def __init__(self, data: Path, environ: Mapping[str, str] | None = None) -> None:
        self.data = data
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.running: Running | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def start(self, *options: str) -> Running:
        """Run `freshet up` and wait until it says that all is ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "services.cli", "up", "--data", str(self.data), *options]
        with (self.data / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environ, cwd=ROOT
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while (running := read_running(self.data)) is None or not running.ready:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"not ready in time: {self.log()}"
            time.sleep(0.05)
        self.running = running
        return running

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what `freshet up` wrote."""
        return (self.data / "up.log").read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return `freshet up` and everything below it."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> int:
        """End it as `kill` does, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def kill(self, *, with_children: bool) -> list[psutil.Process]:
        """SIGKILL it, alone or with all its children; returns those."""
        assert self._process is not None
        family = self.family()
        for process in family if with_children else family[:1]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(10)
        return family[1:]

    def freshet(
        self,
        *arguments: str,
        stdin: str = "",
        exit_code: int | None = 0,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run another `freshet` command against this system; exit code None: whichever."""
        done = self._run([*arguments, "--data", str(self.data)], stdin, environ or {})
        assert exit_code in (None, done.returncode), f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def train(self, *arguments: str) -> str:
        """Train on what was streamed, where PyTorch is; returns what the command printed."""
        command = ["train", *arguments, "--from-topics"]
        done = self._run(command, "", {"FRESHET_DATA": str(self.data)})
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(
        self, arguments: Sequence[str], stdin: str, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environ | dict(environ),
            cwd=ROOT,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )

    def json(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Run a command with --json and return what it printed."""
        printed: dict[str, Any] = json.loads(self.freshet(*arguments, "--json", stdin=stdin).stdout)
        return printed

    @property
    def kafka(self) -> KafkaSettings:
        """Return the settings of its Kafka."""
        assert self.running is not None
        where = {**self._environ, "KAFKA_BOOTSTRAP_SERVERS": self.running.addresses.kafka}
        return from_environment(KafkaSettings, where)


def jsonl(objects: Sequence[Mapping[str, Any]]) -> str:
    """Write objects as JSONL."""
    return "".join(json.dumps(each) + "\n" for each in objects)


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    """Return whether none of the processes runs any more; a zombie does not."""
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True
