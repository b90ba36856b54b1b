"""Start sessions: `python -m services.sessions`. Settings come from the environment."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from functools import partial

from services.sessions.applier import Applier
from services.sessions.fold import fold_many
from services.sessions.letters import SERVICE, Letters
from services.sessions.log_reader import LogReader
from services.sessions.settings import Settings
from services.sessions.states_store import StatesStore
from services.sessions.worker import Worker
from shared import kafka, logs
from shared.catalogue import Catalogue
from shared.health import Health
from shared.redis import connect
from shared.retry import until_there
from shared.settings import BadSetting, from_environment
from shared.topics import CLICKS, DEAD_LETTERS

log = logging.getLogger(__name__)

STOP_WITHIN_S = 12  # of SIGTERM, with a hung handler too: nothing is lost by being cut off


async def run(settings: Settings) -> int:
    """Wire and run; returns the exit code."""
    stop = asyncio.Event()
    _end_on_signals(stop)
    store = connect(settings.redis, socket_timeout_s=settings.redis_timeout_s)
    health = Health(SERVICE)
    await health.start(settings.bind, settings.health_port)
    await until_there("Kafka", partial(kafka.ensure_topics, settings.kafka, (CLICKS, DEAD_LETTERS)))
    cluster_id = await until_there("Kafka", partial(kafka.cluster_id, settings.kafka))
    reader = LogReader(settings.kafka, CLICKS.name)
    await until_there("Kafka", reader.start)
    await until_there("Redis", store.ping)
    items = Catalogue("none", 64)
    letters = Letters(partial(kafka.producer, settings.kafka))
    applier = Applier(
        StatesStore(store, CLICKS.name),
        lambda states, events: fold_many(states, events, items, settings.fold),
        letters.send,
        cache_users=settings.cache_users,
        slice_events=settings.slice_events,
    )
    worker = Worker(
        settings, CLICKS.name, applier, reader, cluster_id, partial(setattr, health, "ready", True)
    )
    health.status, health.live = worker.status, worker.stalled
    try:
        why = await worker.run(stop)
    finally:
        health.ready = False
        await letters.close()
        await reader.stop()
        await store.aclose()
        await health.stop()
    if why is not None:
        log.error("%s", why)
        return 1
    return 0


def _end_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT, and end the process hard should that not be enough.

    Python's own handler runs even while the loop is busy, and faulthandler's watchdog needs
    neither; it shows where every thread stood.
    """
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        faulthandler.dump_traceback_later(STOP_WITHIN_S, exit=True)
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def main() -> int:
    """Run the service; exit code 0 after a signal, 1 for a failure, 2 for a bad setting."""
    try:
        settings = from_environment(Settings, os.environ)
    except BadSetting as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(SERVICE, settings.log)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
