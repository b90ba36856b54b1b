"""Waiting for what may come up after the service does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

T = TypeVar("T")

NOT_THERE = (KafkaError, RedisError, OSError)  # what Kafka and Redis raise while they cannot be had


async def until_there(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    first_wait_s: float = 0.2,
    wait_at_most_s: float = 5.0,
) -> T:
    """Await `attempt()` until it succeeds, waiting longer each time and saying so in the log."""
    wait_s, started = first_wait_s, time.monotonic()
    while True:
        try:
            return await attempt()
        except NOT_THERE as error:
            waited_s = time.monotonic() - started
            log.warning(
                "waiting for %s since %.0f s: %s", what, waited_s, error or type(error).__name__
            )
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, wait_at_most_s)
