from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from services.embedding.encode.batcher import Batcher, Priority
from shared.bundles.encoders import Encoders
from shared.faults import SystemFault

PICTURE = np.zeros((224, 224, 3), np.uint8)


class FakeEncoders(Encoders):
    """Records batches, each waiting for `gate`; gives first pixels and lengths of texts."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def encode_images(self, pictures: np.ndarray) -> np.ndarray:
        return self._answer([int(picture[0, 0, 0]) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._answer([len(text) for text in texts])

    def _answer(self, values: list[int]) -> np.ndarray:
        self.batches.append(values)
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return np.array(values, np.float32)[:, None]


def picture(value: int) -> np.ndarray:
    return np.full((224, 224, 3), value, np.uint8)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("waited 10 s")


async def test_each_caller_gets_its_own_row() -> None:
    async with Batcher(FakeEncoders(), max_pictures=4) as batcher:
        pictures = [batcher.encode_image(picture(n)) for n in range(50)]
        texts = [batcher.encode_text("x" * n) for n in range(50)]
        rows = await asyncio.gather(*pictures, *texts)
    assert [int(row[0]) for row in rows] == [*range(50), *range(50)]


async def test_callers_who_come_together_share_a_batch() -> None:
    encoders = FakeEncoders()
    async with Batcher(encoders) as batcher:
        await asyncio.gather(*(batcher.encode_text("x" * n) for n in range(10)))
    assert encoders.batches == [list(range(10))]


async def test_long_texts_make_small_batches_so_that_a_query_waits_little() -> None:
    encoders = FakeEncoders()
    async with Batcher(encoders, max_characters=1024) as batcher:
        lengths = [0] * 16 + [400, 400, 400, 5000, 10]
        await asyncio.gather(*(batcher.encode_text("x" * n) for n in lengths))
    assert encoders.batches == [[0] * 16, [400, 400], [400], [5000], [10]]


async def test_a_full_batch_waits_for_nobody() -> None:
    encoders = FakeEncoders()
    encoders.gate.clear()
    async with Batcher(encoders, max_pictures=4, max_wait_s=0.01) as batcher:
        waiting = [asyncio.create_task(batcher.encode_image(picture(n))) for n in range(9)]
        await until(lambda: bool(encoders.batches))
        encoders.gate.set()
        await asyncio.gather(*waiting)
    assert encoders.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


async def test_queries_go_before_live_items_and_these_before_the_backfill() -> None:
    encoders = FakeEncoders()
    encoders.gate.clear()
    async with Batcher(encoders, max_pictures=1) as batcher:
        first = asyncio.create_task(batcher.encode_image(picture(9)))
        await until(lambda: bool(encoders.batches))
        order = [Priority.BACKFILL, Priority.LIVE, Priority.QUERY, Priority.LIVE]
        others = [
            asyncio.create_task(batcher.encode_image(picture(n), p)) for n, p in enumerate(order)
        ]
        await until(lambda: batcher.waiting == 4)
        encoders.gate.set()
        await asyncio.gather(first, *others)
    assert encoders.batches == [[9], [2], [1], [3], [0]]


async def test_one_thread_runs_both_models() -> None:
    encoders = FakeEncoders()
    async with Batcher(encoders) as batcher:
        both = [batcher.encode_text("x") for _ in range(20)]
        await asyncio.gather(*both, *(batcher.encode_image(PICTURE) for _ in range(20)))
    assert len(encoders.threads) == 1
    assert threading.current_thread().name not in encoders.threads


async def test_an_input_that_fails_fails_no_other_of_its_batch() -> None:
    class Picky(FakeEncoders):
        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            if "poison" in texts:
                raise ValueError("a text that the tokenizer cannot take")
            return super().encode_texts(texts)

    encoders = Picky()
    async with Batcher(encoders) as batcher:
        texts = ["a", "poison", "bb"]
        short, poison, long = await asyncio.gather(
            *map(batcher.encode_text, texts), return_exceptions=True
        )
    assert isinstance(poison, ValueError)
    assert (short, long) == (np.array([1]), np.array([2]))


async def test_a_model_that_fails_is_not_asked_again_for_each_of_a_batch() -> None:
    encoders = FakeEncoders()
    encoders.error = SystemFault("the model of embedding fails")
    async with Batcher(encoders) as batcher:
        ends = await asyncio.gather(*map(batcher.encode_text, "abc"), return_exceptions=True)
    assert {type(end) for end in ends} == {SystemFault}
    assert encoders.batches == [[1, 1, 1]]


async def test_an_error_reaches_every_caller_of_the_batch_and_no_later_one() -> None:
    encoders = FakeEncoders()
    encoders.error = RuntimeError("out of memory")
    async with Batcher(encoders) as batcher:
        failed = await asyncio.gather(
            batcher.encode_text("a"), batcher.encode_text("b"), return_exceptions=True
        )
        assert [str(error) for error in failed] == ["out of memory"] * 2
        encoders.error = None
        assert (await batcher.encode_text("abc"))[0] == 3


async def test_a_caller_who_went_away_is_not_encoded() -> None:
    encoders = FakeEncoders()
    encoders.gate.clear()
    async with Batcher(encoders, max_pictures=1) as batcher:
        first = asyncio.create_task(batcher.encode_image(picture(1)))
        await until(lambda: bool(encoders.batches))
        gone = asyncio.create_task(batcher.encode_image(picture(2)))
        kept = asyncio.create_task(batcher.encode_image(picture(3)))
        await until(lambda: batcher.waiting == 2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        encoders.gate.set()
        await asyncio.gather(first, kept)
    assert encoders.batches == [[1], [3]]


async def test_closing_cancels_those_who_still_wait() -> None:
    encoders = FakeEncoders()
    encoders.gate.clear()
    async with Batcher(encoders, max_pictures=1) as batcher:
        tasks = [asyncio.create_task(batcher.encode_image(picture(n))) for n in range(3)]
        await until(lambda: bool(encoders.batches))
        threading.Timer(0.05, encoders.gate.set).start()
    assert all(
        isinstance(e, asyncio.CancelledError)
        for e in await asyncio.gather(*tasks, return_exceptions=True)
    )


async def test_a_picture_of_another_shape_is_refused_before_it_spoils_a_batch() -> None:
    async with Batcher(FakeEncoders()) as batcher:
        with pytest.raises(
            ValueError, match=r"must be uint8 \(224, 224, 3\), was uint8 \(9, 9, 3\)"
        ):
            await batcher.encode_image(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize("wait_s", [-0.001, 0.011])
def test_a_wait_over_ten_milliseconds_is_refused(wait_s: float) -> None:
    with pytest.raises(ValueError, match="max_wait_s must be between 0 and 0.01"):
        Batcher(FakeEncoders(), max_wait_s=wait_s)
