"""`python -m services.embedding`: the service. It ends within 15 s of SIGTERM.

Worker processes import this module again, so it imports nothing large until it runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from shared.settings import BadSetting, from_environment

log = logging.getLogger("services.embedding")


def main() -> int:
    """Run the service. Returns the exit code: 2 for a setting or bundle that cannot be used."""
    from services.embedding.bundle import BadBundle
    from services.embedding.settings import Settings
    from shared import logs

    try:
        settings = from_environment(Settings, os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("embedding", settings.logs)
    try:
        return asyncio.run(_serve(settings))
    except BadBundle as error:
        sys.stderr.write(f"FRESHET_BUNDLE: {error}\n")
        return 2


async def _serve(settings: object) -> int:
    from services.embedding.settings import Settings
    from services.embedding.worker import Service

    assert isinstance(settings, Settings)
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    service = Service(settings)
    starting = asyncio.create_task(service.start())
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await asked
        return 0
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await service.stop()


if __name__ == "__main__":
    sys.exit(main())
