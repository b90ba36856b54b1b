"""Start children stage by stage, start again those that crash, stop all in the reverse order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from services.cli.up.process import StartFailed

BAD_SETTING: Final = 2  # the exit code by which a service refuses its settings
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0  # a child that ran this long starts again without much delay
CRASHES_BEFORE_READY: Final = 3
POLL_S: Final = 0.05


class Child(Protocol):
    """A server or service that can be started again after its end."""

    @property
    def name(self) -> str: ...
    @property
    def log(self) -> Path: ...
    @property
    def pid(self) -> int: ...
    def launch(self) -> None: ...
    def ready(self) -> bool: ...
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def stop(self) -> None: ...


def restart_delay_s(crashes: int) -> float:
    """Return how long to wait before the next start, after so many crashes in a row (from 1)."""
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(crashes - 1, 16)))


def ending(code: int) -> str:
    """Say in words how a process ended; 128 + N is signal N."""
    return f"signal {code - 128}" if code > 128 else f"exit code {code}"


@dataclass(slots=True)
class _Tended:
    child: Child
    crashes: int = 0
    started_at: float = 0.0
    due_at: float | None = None  # of the next start, while it waits for that
    awaited: bool = True  # not ready yet since its last start


class Supervisor:
    """Tends children; `tell` hears in plain words of every crash and return.

    Call `start`, then `tend` again and again, then `stop`.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = [[_Tended(child) for child in stage] for stage in stages]
        self._tell = tell
        self._clock = clock

    def names(self) -> list[str]:
        """Return the children's names in the order of their start."""
        return [tended.child.name for stage in self._stages for tended in stage]

    def processes(self) -> dict[str, int]:
        """Return the children's process ids by name."""
        return {tended.child.name: tended.child.pid for tended in self._all()}

    def waiting_for(self) -> list[str]:
        """Return the names of the children that are not ready."""
        return [tended.child.name for tended in self._all() if tended.awaited]

    def start(self, progress: Callable[[], None] = lambda: None) -> None:
        """Start all; each stage waits until the one before is ready, calling `progress`.

        Raises StartFailed when a child refuses its settings or keeps crashing.
        """
        for stage in self._stages:
            for tended in stage:
                self._launch(tended)
            while any(tended.awaited for tended in stage):
                progress()
                time.sleep(POLL_S)
                self.tend()
                for tended in stage:
                    self._give_up_on(tended)

    def tend(self) -> None:
        """Look at every child once: note its readiness or end, start it again when that is due."""
        for tended in self._all():
            code = tended.child.poll()
            if tended.due_at is not None:
                if self._clock() >= tended.due_at:
                    self._launch_again(tended)
            elif code is not None:
                self._note_crash(tended, f"ended ({ending(code)})")
            elif tended.awaited and tended.child.ready():
                tended.awaited = False
                if tended.crashes:
                    self._tell(f"{tended.child.name} is ready again")

    def stop(self) -> None:
        """Stop all, those first that were started last; returns when nothing runs any more."""
        for stage in reversed(self._stages):
            for tended in stage:
                tended.child.terminate()
            for tended in stage:
                tended.child.stop()

    def _all(self) -> list[_Tended]:
        return [tended for stage in self._stages for tended in stage if tended.started_at]

    def _launch(self, tended: _Tended) -> None:
        tended.started_at, tended.due_at, tended.awaited = self._clock(), None, True
        tended.child.launch()

    def _launch_again(self, tended: _Tended) -> None:
        try:
            self._launch(tended)
        except (OSError, RuntimeError) as error:
            self._note_crash(tended, f"does not start: {error}")

    def _note_crash(self, tended: _Tended, how: str) -> None:
        steady = self._clock() - tended.started_at >= STEADY_AFTER_S
        tended.crashes = 1 if steady else tended.crashes + 1
        delay_s = restart_delay_s(tended.crashes)
        tended.awaited, tended.due_at = True, self._clock() + delay_s
        self._tell(
            f"{tended.child.name} {how}; next start in {delay_s:g} s (log: {tended.child.log})"
        )

    def _give_up_on(self, tended: _Tended) -> None:
        code = tended.child.poll()
        if code == BAD_SETTING or (tended.awaited and tended.crashes >= CRASHES_BEFORE_READY):
            lines = tended.child.log.read_text(errors="replace").splitlines() or ["(empty)"]
            raise StartFailed(f"{tended.child.name} does not start: {lines[-1]}")
