"""The embedding service and its two one-shot commands.

    python -m services.embedding                        the service; ends within 15 s of SIGTERM
    python -m services.embedding snapshot               make a snapshot now; prints what was made
    python -m services.embedding check-snapshot FOLDER  load a snapshot's folder; exit code 1 if bad

Worker processes import this module again, so it imports nothing large until it runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.embedding.settings import Settings

NICE = 10  # a build lets live work go first
END_AT_MOST_S = 13.0


def main(arguments: list[str]) -> int:
    """Run a command. Returns the exit code: 2 for a setting or bundle that cannot be used."""
    from freshet.settings import BadSetting, from_environment
    from services.embedding.encode.bundle import BadBundle
    from services.embedding.settings import Settings
    from shared.runtime import logs

    if arguments[:1] == ["check-snapshot"] and len(arguments) == 2:
        return _check_snapshot(Path(arguments[1]))
    if arguments not in ([], ["snapshot"], ["snapshot", "--attended"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        settings = from_environment(Settings, os.environ)
        logs.configure("embedding", settings.logs)
        if arguments:
            return _snapshot(settings, attended="--attended" in arguments)
        return asyncio.run(_serve(settings))
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
    except BadBundle as error:
        sys.stderr.write(f"FRESHET_BUNDLE: {error}\n")
    return 2


async def _serve(settings: Settings) -> int:
    from services.embedding.service import Service

    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    service = Service(settings)
    starting = asyncio.create_task(service.start())
    ending = [asyncio.create_task(stopping.wait()), asyncio.create_task(service.failed.wait())]
    try:
        await asyncio.wait((starting, *ending), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            try:
                await starting
            except (OSError, RuntimeError) as error:  # gRPC's for a port that is taken
                sys.stderr.write(f"cannot start: {error}\n")
                return 1
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        return 1 if service.failed.is_set() else 0
    finally:
        # Nothing that matters is lost by a hard end; a broker that hangs must not hold it up.
        last_resort = threading.Timer(END_AT_MOST_S, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()
        for task in (starting, *ending):
            task.cancel()
        await asyncio.gather(starting, *ending, return_exceptions=True)
        await service.stop()


def _snapshot(settings: Settings, *, attended: bool) -> int:
    """Build a snapshot and print it as JSON. attended: end when standard input does."""
    from services.embedding.snapshots.build import NoItems, build
    from shared.catalogue.snapshots import BadSnapshot

    os.nice(NICE)
    if attended:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        made = asyncio.run(build(settings))
    except (NoItems, BadSnapshot, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


def _end_with_input() -> None:
    # Not through sys.stdin: a thread inside its buffer would be fatal to a normal exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)  # nobody waits for the snapshot any more


def _check_snapshot(folder: Path) -> int:
    from services.embedding.snapshots.build import check
    from shared.catalogue.snapshots import BadSnapshot

    try:
        check(folder)
    except (BadSnapshot, OSError, ValueError, RuntimeError) as error:  # hnswlib's is the last
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
