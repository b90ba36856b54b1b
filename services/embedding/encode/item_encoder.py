"""Turn an item into its vectors: fetch and decode the picture, encode it and the text, fuse."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from services.embedding.encode.batcher import Batcher, Priority
from services.embedding.encode.content import has_picture, text_of
from services.embedding.encode.fusion import BadVector, Floats, Fusion
from services.embedding.encode.precedence import Precedence
from services.embedding.pictures.decoding import Decoders
from services.embedding.pictures.fetch import Fetcher, FetchFailed, Unreachable
from services.embedding.pictures.picture import BadPicture
from shared.catalogue.item_vectors import Vector

BAD_PICTURE: Final = "bad-picture"
PICTURE_NOT_FETCHED: Final = "picture-not-fetched"
NO_DIRECTION: Final = "no-direction"  # encoded, but to nothing that could be compared

FETCH_WAITS_S: Final = (0.5, 2.0, 8.0)  # between tries of a host that does not answer
BACKFILL_DECODES: Final = 2  # at once; a live picture waits for no more


@dataclass(frozen=True, slots=True, eq=False)
class EncodedVectors:
    """What encoding gives: three float16 vectors, the modalities' empty where there is none."""

    vector: Vector  # (d,), unit length
    image_vector: Vector  # (d,) or (0,)
    text_vector: Vector  # (d,) or (0,)


class ItemEncoder:
    """Encodes items, live ones before backfill at each step."""

    def __init__(
        self,
        fetcher: Fetcher,
        decoders: Decoders,
        batcher: Batcher,
        fusion: Fusion,
        *,
        fetch_waits_s: tuple[float, ...] = FETCH_WAITS_S,
    ) -> None:
        self._fetcher = fetcher
        self._decoders = decoders
        self._batcher = batcher
        self._fusion = fusion
        self._fetch_waits_s = fetch_waits_s
        self._precedence = Precedence()
        self._backfill_decodes = asyncio.Semaphore(BACKFILL_DECODES)

    async def encode(self, item: Item, priority: Priority) -> EncodedVectors:
        """Return an item's vectors. Raises BadRecord: no retry would mend it."""
        data = item.image_bytes
        if not data and item.image_uri is not None:
            data = await self._fetch(item.image_uri)
        hold = (
            contextlib.nullcontext() if priority == Priority.BACKFILL else self._precedence.live()
        )
        with hold:
            picture = None if not has_picture(item) else await self._decode(data or b"", priority)
            features, embedding = await asyncio.gather(
                self._image_features(picture, priority),
                self._text_embedding(text_of(item), priority),
            )
        return self._fuse(features, embedding)

    async def encode_text(self, text: str) -> EncodedVectors:
        """Return a search's vectors, before everything else. Raises BadRecord."""
        with self._precedence.live():
            return self._fuse(None, await self._batcher.encode_text(text, Priority.QUERY))

    async def encode_picture(self, data: bytes) -> EncodedVectors:
        """Return the vectors of a picture to search with. Raises BadRecord."""
        with self._precedence.live():
            picture = await self._decode(data, Priority.QUERY)
            return self._fuse(await self._batcher.encode_image(picture, Priority.QUERY), None)

    async def _fetch(self, uri: str) -> bytes:
        for wait_s in (*self._fetch_waits_s, None):
            try:
                return await self._fetcher.fetch(uri)
            except FetchFailed as error:
                if wait_s is None or not isinstance(error, Unreachable):
                    text = f"picture cannot be fetched: {error}"
                    raise BadRecord(PICTURE_NOT_FETCHED, text) from None
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    async def _decode(self, data: bytes, priority: Priority) -> NDArray[np.uint8]:
        try:
            if priority != Priority.BACKFILL:
                return await self._decoders.decode(data)
            async with self._backfill_decodes:
                await self._precedence.backfill_turn()
                return await self._decoders.decode(data)
        except BadPicture as error:
            raise BadRecord(BAD_PICTURE, str(error)) from None

    async def _image_features(
        self, picture: NDArray[np.uint8] | None, priority: Priority
    ) -> Floats | None:
        if picture is None:
            return None
        await self._turn(priority)
        return await self._batcher.encode_image(picture, priority)

    async def _text_embedding(self, text: str, priority: Priority) -> Floats | None:
        if not text:
            return None
        await self._turn(priority)
        return await self._batcher.encode_text(text, priority)

    async def _turn(self, priority: Priority) -> None:
        if priority == Priority.BACKFILL:
            await self._precedence.backfill_turn()

    def _fuse(self, features: Floats | None, embedding: Floats | None) -> EncodedVectors:
        try:
            fused = self._fusion.fuse(features, embedding)
        except BadVector as error:
            raise BadRecord(NO_DIRECTION, str(error)) from None
        return EncodedVectors(
            _half(fused.vector), _half(fused.image_vector), _half(fused.text_vector)
        )


def _half(vector: Floats | None) -> Vector:
    return np.empty(0, np.float16) if vector is None else vector.astype(np.float16)
