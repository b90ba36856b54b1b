"""Decode pictures in worker processes.

A decoder that crashes, hangs or swells takes only its process along.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.bundles import picture
from shared.bundles.picture import BadPicture, PictureLimits
from shared.faults import SystemFault

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]  # (224, 224, 3) RGB
Decode = Callable[[bytes, PictureLimits], Picture]

DECODE_AT_MOST_S = 10  # then its process is killed
DECODE_AT_MOST_BYTES = 512 * 1024**2  # beyond what an idle worker takes


class Decoders:
    """A pool of worker processes. A picture that killed its process is tried once more, alone."""

    def __init__(
        self,
        workers: int,
        limits: PictureLimits,
        *,
        at_most_s: int = DECODE_AT_MOST_S,
        at_most_bytes: int = DECODE_AT_MOST_BYTES,
        decode: Decode = picture.decode,
    ) -> None:
        """at_most_s, at_most_bytes: what a picture may take; a worker that takes more dies.

        decode: a function that worker processes can import; another one for tests.
        """
        self._workers = workers
        self._limits = limits
        self._at_most_s = at_most_s
        self._at_most_bytes = at_most_bytes
        self._decode = decode
        self._pool = self._new_pool(workers)
        self._alone = asyncio.Lock()

    async def start(self) -> None:
        """Start the processes, so that the first picture need not wait for it."""
        await asyncio.gather(*(self._run(self._pool, _nothing) for _ in range(self._workers)))

    def stop(self) -> None:
        """End the processes; one that still decodes is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def decode(self, data: bytes) -> Picture:
        """Decode a picture. Raises BadPicture, also when it killed its decoder twice.

        Raises SystemFault where decoders cannot even be started.
        """
        pool, job = self._pool, (self._decode, data, self._limits, self._at_most_s)
        try:
            return await self._run(pool, _decode, *job)
        except BrokenProcessPool:
            if self._pool is pool:
                log.warning("a picture decoder died; starting others")
                self._pool = self._new_pool(self._workers)
        # Whose fault it was is not known: all that were in the pool come here, one by one.
        async with self._alone:
            pool = self._new_pool(1)
            try:
                await self._check(pool)
                return await self._run(pool, _decode, *job)
            except BrokenProcessPool:
                raise BadPicture(
                    f"its decoder died, or took more than {self._at_most_s} s or "
                    f"{self._at_most_bytes} bytes"
                ) from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    async def _check(self, pool: ProcessPoolExecutor) -> None:
        """Raise SystemFault where a decoder dies without a picture."""
        try:
            await self._run(pool, _nothing)
        except BrokenProcessPool as error:
            raise SystemFault("picture decoders cannot start") from error

    async def _run(
        self, pool: ProcessPoolExecutor, call: Callable[..., Picture], *args: object
    ) -> Picture:
        return await asyncio.get_running_loop().run_in_executor(pool, call, *args)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),  # a fork would copy threads' locks
            initializer=_prepare_worker,
            initargs=(self._at_most_bytes,),
        )


def _prepare_worker(at_most_bytes: int) -> None:
    """Bound the worker's memory, leave signals to its parent, and end when the parent does."""
    # macOS tells no size in /proc and bounds no address space: time and pixels are bounded there.
    with contextlib.suppress(OSError, ValueError):
        limit = _address_space_bytes() + at_most_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _address_space_bytes() -> int:
    """Return what this process takes now; libraries reserve much that they never touch."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a parent that was killed closes no queue that the worker would notice


def _nothing() -> Picture:
    return np.empty((0, 0, 3), np.uint8)


def _decode(decode: Decode, data: bytes, limits: PictureLimits, at_most_s: int) -> Picture:
    """Decode within the time limit: the alarm, left at its default, ends the process."""
    signal.alarm(at_most_s)
    try:
        return decode(data, limits)
    finally:
        signal.alarm(0)
