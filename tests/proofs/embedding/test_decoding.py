"""A picture decoder may crash, hang or swell: only its process is lost, and only its picture."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.embedding.pictures import decoding
from services.embedding.pictures.decoding import Decoders
from shared.bundles.picture import BadPicture, PictureLimits
from shared.faults import SystemFault
from tests.integration.embedding.shop import picture
from tests.servers import ROOT, eventually

pytestmark = pytest.mark.proof

GOOD = np.zeros((224, 224, 3), np.uint8)


def misbehave(data: bytes, limits: PictureLimits) -> NDArray[np.uint8]:
    """Stand in for a decoder with a defect; runs in a worker process."""
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        signal.alarm(1)  # as the real limit, sooner
        signal.sigwait([signal.SIGUSR1])
    if data == b"swell":
        np.ones(2 * decoding.DECODE_AT_MOST_BYTES, np.uint8)
    if data == b"swell quietly":
        try:
            np.ones(2 * decoding.DECODE_AT_MOST_BYTES, np.uint8)
        except MemoryError:
            raise BadPicture("no memory") from None
    return GOOD


@asynccontextmanager
async def decoders(**options: object) -> AsyncIterator[Decoders]:
    pool = Decoders(1, PictureLimits(), **options)  # type: ignore[arg-type]
    await pool.start()
    try:
        yield pool
    finally:
        pool.stop()


@pytest.mark.parametrize("what", [b"crash", b"hang"])
async def test_picture_that_kills_its_decoder_is_bad_and_the_others_are_not(what: bytes) -> None:
    async with decoders(decode=misbehave) as pool:
        together = [b"a", what, b"b", b"c"]
        found = await asyncio.gather(*map(pool.decode, together), return_exceptions=True)
        assert isinstance(found[1], BadPicture)
        assert all(isinstance(found[n], np.ndarray) for n in (0, 2, 3))
        assert (await pool.decode(b"after")).shape == GOOD.shape


async def test_where_no_decoder_can_start_no_picture_is_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with decoders(decode=misbehave) as pool:
        monkeypatch.setattr(decoding, "_prepare_worker", os.abort)
        with pytest.raises(SystemFault, match="picture decoders cannot start"):
            await pool.decode(b"crash")


async def test_memory_of_a_decoder_is_bounded() -> None:
    async with decoders(decode=misbehave) as pool:
        with pytest.raises(BadPicture, match="no memory"):
            await pool.decode(b"swell quietly")
        with pytest.raises(MemoryError):
            await pool.decode(b"swell")


async def test_real_pictures_are_decoded_and_bombs_refused_within_bounds() -> None:
    bomb = io.BytesIO()
    Image.new("L", (9000, 9000)).save(bomb, "PNG")
    async with decoders() as pool:
        assert (await pool.decode(picture(1))).shape == GOOD.shape
        (worker,) = [
            child
            for child in psutil.Process().children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        for _ in range(20):
            with pytest.raises(BadPicture):
                await pool.decode(bomb.getvalue())
        assert worker.memory_info().rss < 120 * 2**20


ORPHAN = """
import asyncio, os, signal
from services.embedding.pictures.decoding import Decoders
from shared.bundles.picture import PictureLimits

async def main():
    pool = Decoders(1, PictureLimits())
    await pool.start()
    print([p for p in pool._pool._processes], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_decoder_ends_when_its_service_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(ORPHAN)
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    (pid,) = (int(number) for number in ended.stdout.decode().strip(" []\n").split(","))
    await eventually(lambda: not _runs(pid), what="the decoder's end")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
