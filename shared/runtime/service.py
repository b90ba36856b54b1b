"""Run a service: settings, signals, background work, its end and its exit code.

A service's `__main__` calls `main`; what it is made of stands in its own `Service`, whose `start`
returns once everything is under way and whose `stop` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

from freshet.settings import BadSetting, from_environment
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.faults import SystemFault
from shared.runtime import logs
from shared.runtime.health import Health

END_WITHIN_S: Final = 12  # of a signal, whatever hangs: what was under way is done again
LEAVE_AT_MOST_S: Final = 3
COLLECTOR_THRESHOLDS: Final = (20_000, 20, 50)

log = logging.getLogger(__name__)


class Fatal(Exception):
    """What ends a service, in words for whoever runs it: its log needs no trace."""


class Refused(Exception):
    """What the environment names and the service cannot use: exit code 2, as a bad setting."""


class Background:
    """Work that goes on beside the calls, and is missed when it ends.

    A task that dies of an error nobody foresaw would leave the service serving what grows old. So
    the first such error is kept: liveness fails with it, and whoever watches starts the process
    anew.
    """

    def __init__(self, on_fault: Callable[[BaseException | None], None] = lambda _: None) -> None:
        """on_fault: hears with what error work ended, None if it ended without."""
        self.fault: str | None = None  # why a task ended, None while all run
        self._on_fault = on_fault
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run work that never ends by itself."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail(self, name: str, error: BaseException | None) -> None:
        """Note that work ended which should not have."""
        why = f"{name} ended: {error!r}"
        if why == self.fault:
            return  # many records may meet one fault at once
        if isinstance(error, (Fatal, BadSetting, SystemFault)):
            log.error("%s ended: %s", name, error)
        else:
            log.error("%s ended", name, exc_info=error)
        self.fault = self.fault or why
        self._on_fault(error)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.fail(task.get_name(), task.exception())


class Service(ABC):
    """One of Freshet's services, built inside a running event loop.

    door: who is let in at its ports. health: its port, to be started by `start`. background: work
    whose end is a fault. ends: what was started, ended backwards by `stop`. broken: set when
    nothing goes on and only a new process may help.
    """

    def __init__(self, name: str, door: DoorSettings, *, ends_with_background: bool) -> None:
        """ends_with_background: a fault ends the process; else it serves on, and is not alive.

        Raises BadSetting for files of the door that cannot be used.
        """
        self.broken = asyncio.Event()
        self.background = Background(self._on_fault)
        self._ends_with_background = ends_with_background
        self._leaving: asyncio.Task[None] | None = None
        self.ends = contextlib.AsyncExitStack()
        self.door = Door(door)
        self.health = Health(name, self.door)
        self.health.live = self.fault
        self.health.status = self.status

    @abstractmethod
    async def start(self) -> None:
        """Start everything, waiting for Kafka and Redis as long as it takes."""

    async def stop(self) -> None:
        """End everything, in bounded time; what was under way is done again by whoever is next."""
        self.health.ready = False
        if self._leaving is not None:
            await asyncio.wait({self._leaving}, timeout=LEAVE_AT_MOST_S)
        try:
            await self.ends.aclose()
        except Exception:  # the other ends came to their turn all the same
            log.exception("an end failed")

    async def leave(self) -> None:
        """Read nothing any more and let others read, who may have what this process lacks."""
        return  # whoever shares no group has nobody to leave

    def fault(self) -> str | None:
        """Return why the process should be started anew, None while all is well."""
        return self.background.fault

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """Return what GET /status shows."""

    def _on_fault(self, error: BaseException | None) -> None:
        if isinstance(error, SystemFault):
            self.health.ready = False
            self._leaving = self._leaving or asyncio.create_task(self.leave(), name="leaving")
        elif self._ends_with_background:
            self.broken.set()


class LoggedSettings(Protocol):
    """A service's settings, as far as every service has the same."""

    @property
    def logs(self) -> logs.LogSettings: ...


S = TypeVar("S", bound=LoggedSettings)


def main(name: str, settings_class: type[S], build: Callable[[S], Service]) -> int:
    """Run a service until SIGTERM or SIGINT.

    Returns the exit code: 0 after a signal, 1 for a failure, 2 for a setting, or what it names,
    that cannot be used.
    """
    try:
        settings = from_environment(settings_class, os.environ)
        logs.configure(name, settings.logs)
        return asyncio.run(_run(name, lambda: build(settings)))
    except (BadSetting, Refused) as error:
        sys.stderr.write(f"{error}\n")
        return 2


async def _run(name: str, build: Callable[[], Service]) -> int:
    service = build()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        _end_soon()
        loop.call_soon_threadsafe(stop.set)

    # Python's own handlers: they run even while the loop is busy.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    starting = asyncio.create_task(service.start())
    endings = [asyncio.create_task(event.wait()) for event in (stop, service.broken)]
    try:
        await asyncio.wait((starting, *endings), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        return 1 if service.broken.is_set() else 0
    except (BadSetting, Refused):
        raise
    except (Fatal, SystemFault, OSError) as error:
        log.error("%s cannot start: %s", name, error)
        return 1
    except Exception:
        log.exception("%s ends", name)
        return 1
    finally:
        _end_soon()
        for task in (starting, *endings):
            task.cancel()
        await asyncio.gather(starting, *endings, return_exceptions=True)
        try:
            await service.stop()
        except Exception:  # what is broken may not end well; it ends all the same
            log.exception("%s did not end well", name)
        faulthandler.cancel_dump_traceback_later()


def _end_soon() -> None:
    """Let a watchdog that needs neither loop nor lock end the process, showing what hung."""
    faulthandler.dump_traceback_later(END_WITHIN_S, exit=True)


def tune_collector() -> None:
    """Look through what is there once, then never again, and look for cycles more seldom.

    Call it when a service has read what it serves from. What calls and batches make is freed by
    counting references; only cycles wait longer. What is served from must be in none, so that it
    goes when something else is served; what was in one all the same goes with the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
