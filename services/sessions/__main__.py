"""Start sessions: `python -m services.sessions`. Settings come from the environment."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys

from freshet.settings import BadSetting, from_environment
from services.sessions.effect.letters import SERVICE
from services.sessions.faust.places import OtherLog
from services.sessions.service import Service
from services.sessions.settings import Settings
from shared.runtime import logs

log = logging.getLogger(__name__)

END_WITHIN_S = 12  # whatever hangs: a batch that is cut off is done again, to no second effect


async def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        _end_soon()
        loop.call_soon_threadsafe(stop.set)

    # Python's own handlers: they run even while the loop is busy.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    service = Service(settings)
    try:
        await service.work(stop)
    except OtherLog as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("sessions ends")
        return 1
    finally:
        _end_soon()
        await service.close()
    return 0


def _end_soon() -> None:
    """Let a watchdog that needs neither loop nor lock end the process, showing what hung."""
    faulthandler.dump_traceback_later(END_WITHIN_S, exit=True)


def main() -> int:
    """Run the service: exit code 0 after a signal, 1 for a failure, 2 for a bad setting."""
    try:
        settings = from_environment(Settings, os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(SERVICE, settings.log)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
