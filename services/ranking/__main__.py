"""Start ranking: `python -m services.ranking`. Settings come from the environment."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys

from services.ranking.onnx_ranker import BadRanker
from services.ranking.service import NAME, Service
from services.ranking.settings import Settings
from shared import logs
from shared.settings import BadSetting, from_environment

STOP_WITHIN_S = 12  # of SIGTERM, whatever hangs; only impressions not yet written are lost


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        faulthandler.dump_traceback_later(STOP_WITHIN_S, exit=True)
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    service = Service(settings)
    starting = asyncio.create_task(service.start())
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await asked
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await service.stop()
        faulthandler.cancel_dump_traceback_later()


def main() -> int:
    """Run the service; exit code 0 after a signal, 2 for a bad setting or ranker."""
    try:
        settings = from_environment(Settings, os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(NAME, settings.logs)
    try:
        asyncio.run(run(settings))
    except BadRanker as error:
        sys.stderr.write(f"FRESHET_RANKER: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
