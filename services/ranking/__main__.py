"""Start ranking: `python -m services.ranking`. Settings come from the environment."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING

from freshet.settings import BadSetting, from_environment

if TYPE_CHECKING:
    from services.ranking.settings import Settings

STOP_WITHIN_S = 12  # of SIGTERM, whatever hangs; only impressions not yet written are lost


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadRanker for a ranker that cannot be used."""
    from services.ranking.service import Service

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
    # Requests are the parallelism: threads of BLAS would wait for each other. Before numpy is here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from services.ranking.onnx_ranker import BadRanker
    from services.ranking.settings import Settings
    from shared.runtime import logs

    try:
        settings = from_environment(Settings, os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure("ranking", settings.logs)
    try:
        asyncio.run(run(settings))
    except BadRanker as error:
        sys.stderr.write(f"FRESHET_RANKER: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
