"""Run parts of the Makefile one after the other; end with a table and what was left out, and why.

    python -m tests.run PART…

A part that fails does not keep the others from running. What pytest counted, its JUnit file says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

FAILED, INTERRUPTED = 1, 128 + signal.SIGINT


@dataclass(slots=True)
class Part:
    """What came of a make target: `took_s` seconds, `ok` once it ended well.

    Tests are counted where it ran any: how many passed, which failed, how many were left out by
    reason.
    """

    name: str
    ok: bool = False
    took_s: float = 0.0
    passed: int | None = None
    failed: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def run(self, junit: Path) -> None:
        """Run it, its output going where ours goes; pytest writes what it counted to `junit`."""
        options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={junit}"
        command = [os.environ.get("MAKE", "make"), "--no-print-directory", self.name]
        began = time.monotonic()
        with subprocess.Popen(command, env={**os.environ, "PYTEST_ADDOPTS": options}) as process:
            try:
                self.ok = process.wait() == 0
            except KeyboardInterrupt:  # SIGTERM too, which make hands on
                process.terminate()
                process.wait()
                raise
            finally:
                self.took_s = time.monotonic() - began
        if junit.exists():
            self._count(junit)

    def _count(self, junit: Path) -> None:
        self.passed = 0
        for case in ElementTree.parse(junit).iter("testcase"):
            outcomes = {outcome.tag: outcome for outcome in case}
            if outcomes.keys() & {"failure", "error"}:
                self.failed.append(f"{case.get('classname')}::{case.get('name')}")
            elif "skipped" in outcomes:
                self.left_out[outcomes["skipped"].get("message", "")] += 1
            else:
                self.passed += 1


def table(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the lines of the table, the tests that failed, and what was left out by reason."""
    row = "{:<18}{:>8}{:>8}{:>10}{:>9}  {}".format
    yield row("part", "passed", "failed", "left out", "time", "")
    for part in parts:
        counts = ("", "", "")
        if part.passed is not None:
            counts = (str(part.passed), str(len(part.failed)), str(part.left_out.total()))
        yield row(part.name, *counts, clock(part.took_s), "ok" if part.ok else "FAILED")
    yield row("", "", "", "", clock(sum(part.took_s for part in parts)), "")
    yield from (f"failed: {name}" for part in parts for name in part.failed)
    for part in parts:
        for reason, count in part.left_out.items():
            yield f"left out of {part.name}: {count}, because {reason}"


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def main(names: Sequence[str]) -> int:
    """Run the parts that are named; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts: list[Part] = []
    interrupted = False
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, name in enumerate(names, start=1):
                print(f"\n== {number} of {len(names)}: {name}", flush=True)
                parts.append(Part(name))
                parts[-1].run(Path(folder) / f"{name}.xml")
        except KeyboardInterrupt:
            interrupted = True
    print("", *table(parts), sep="\n")
    if interrupted:
        return INTERRUPTED
    return 0 if all(part.ok for part in parts) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
