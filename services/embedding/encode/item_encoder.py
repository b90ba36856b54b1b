"""Turn an item into its vectors: fetch and decode the picture, encode it and the text, fuse.

Where the bundle has an item tower, what is fused is its input: an item has its tower vector, which
queries of sessions look for, from its arrival on.

An item whose picture cannot be had is encoded from its text, beside the last good picture if there
was one, and carries the reason; only one that has neither is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from services.embedding.encode.batcher import Batcher, Priority
from services.embedding.encode.precedence import Precedence
from services.embedding.pictures.decoding import Decoders, Picture
from services.embedding.pictures.fetch import Fetcher, FetchFailed, Unreachable
from services.embedding.pictures.hosts import Lane
from shared.bundles.content import text_of
from shared.bundles.fusion import BadVector, Floats, FusedVectors, Fusion
from shared.bundles.picture import BadPicture
from shared.bundles.towers import OnnxItemTower
from shared.catalogue.item_vectors import NO_VECTOR, PICTURE_MISSING_BYTES, Vector
from shared.users.keys import item_key

BAD_PICTURE: Final = "bad-picture"
PICTURE_NOT_FETCHED: Final = "picture-not-fetched"
NO_DIRECTION: Final = "no-direction"  # encoded, but to nothing that could be compared

# Between tries of a host that does not answer, where there is nothing else to encode.
FETCH_WAITS_S: Final = (0.5, 2.0, 8.0)
BACKFILL_DECODES: Final = 2  # at once; a live picture waits for no more


LastGood = Callable[[], Awaitable[Vector]]  # an item's picture vector so far, (d,) or (0,)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedVectors:
    """What encoding gives: float16 vectors, empty where there is none of a modality or a tower."""

    vector: Vector  # (d,), unit length
    image_vector: Vector  # (d,) or (0,)
    text_vector: Vector  # (d,) or (0,)
    picture_missing: str = ""  # why the picture could not be had: image_vector is of the last good
    # (t,) of unit length, of the bundle's item tower
    tower_vector: Vector = field(default_factory=lambda: NO_VECTOR)


class PictureMissing(BadRecord):
    """A picture that cannot be had. It refuses what has nothing else to encode.

    may_pass: it may be there in a moment.
    """

    def __init__(self, error_class: str, text: str, *, may_pass: bool = False) -> None:
        super().__init__(error_class, text)
        self.may_pass = may_pass

    @property
    def reason(self) -> str:
        """Class and text, as item vectors carry them."""
        said = f"{self.error_class}: {self}".encode()[:PICTURE_MISSING_BYTES]
        return said.decode("utf-8", "ignore")


async def no_last_good() -> Vector:
    """Return that there was no picture before."""
    return NO_VECTOR


class ItemEncoder:
    """Encodes items, live ones before backfill at each step."""

    def __init__(
        self,
        fetcher: Fetcher,
        decoders: Decoders,
        search_decoders: Decoders,
        batcher: Batcher,
        fusion: Fusion,
        tower: OnnxItemTower | None = None,
        precedence: Precedence | None = None,
        is_served: Callable[[], bool] = lambda: True,
        *,
        fetch_waits_s: tuple[float, ...] = FETCH_WAITS_S,
    ) -> None:
        """precedence: of all spaces of a service; is_served: whether anybody waits for this one."""
        self._fetcher = fetcher
        self._decoders = decoders
        self._search_decoders = search_decoders  # neither waits for the other's pictures
        self._batcher = batcher
        self._fusion = fusion
        self._tower = tower
        self._fetch_waits_s = fetch_waits_s
        self._precedence = precedence or Precedence()
        self._is_served = is_served
        self._backfill_decodes = asyncio.Semaphore(BACKFILL_DECODES)

    async def encode(
        self, item: Item, priority: Priority, last_good: LastGood = no_last_good
    ) -> EncodedVectors:
        """Return an item's vectors, also without its picture. Raises BadRecord.

        last_good: asked only where the picture cannot be had.
        """
        try:
            return await self.encode_whole(item, priority)
        except PictureMissing as error:
            why = error
        text, kept = text_of(item), await last_good()
        if not text and not kept.size:
            return await self._insist(item, priority, why)
        priority = self._standing(priority)
        with self._precedence_of(priority):
            embedding = await self._text_embedding(text, priority)
        return self._placed(item, self._fuse_again(kept, embedding, why.reason))

    async def encode_whole(self, item: Item, priority: Priority) -> EncodedVectors:
        """Return an item's vectors. Raises PictureMissing, or BadRecord: no retry would mend it."""
        priority = self._standing(priority)
        picture = await self._picture(item, priority)
        with self._precedence_of(priority):
            features, embedding = await asyncio.gather(
                self._image_features(picture, priority),
                self._text_embedding(text_of(item), priority),
            )
        return self._placed(item, self._fuse(features, embedding))

    async def encode_text(self, text: str) -> EncodedVectors:
        """Return a search's vectors, before everything else. Raises BadRecord."""
        with self._precedence.live():
            return self._fuse(None, await self._batcher.encode_text(text, Priority.QUERY))

    async def encode_picture(self, data: bytes) -> EncodedVectors:
        """Return the vectors of a picture to search with. Raises BadRecord."""
        with self._precedence.live():
            picture = await _decoded(self._search_decoders, data)
            return self._fuse(await self._batcher.encode_image(picture, Priority.QUERY), None)

    def _standing(self, priority: Priority) -> Priority:
        """Return what an item's priority is beside those of the space that is served."""
        return priority if self._is_served() else Priority.BACKFILL

    def _precedence_of(self, priority: Priority) -> AbstractContextManager[None]:
        return nullcontext() if priority == Priority.BACKFILL else self._precedence.live()

    async def _picture(self, item: Item, priority: Priority) -> Picture | None:
        """Return an item's picture, None if it has none. Raises PictureMissing."""
        if item.image_bytes:
            return await self._decode(item.image_bytes, priority)
        if item.image_uri is None:
            return None
        lane = Lane.BACKFILL if priority == Priority.BACKFILL else Lane.LIVE
        async with self._fetcher.place(item.image_uri, lane):
            try:
                data = await self._fetcher.fetch(item.image_uri)
            except FetchFailed as error:
                raise PictureMissing(
                    PICTURE_NOT_FETCHED,
                    f"picture cannot be fetched: {error}",
                    may_pass=isinstance(error, Unreachable),
                ) from None
            return await self._decode(data, priority)

    async def _insist(self, item: Item, priority: Priority, why: PictureMissing) -> EncodedVectors:
        """Try again to encode an item that has only its picture. Raises BadRecord."""
        for wait_s in self._fetch_waits_s:
            if not why.may_pass:
                break
            await asyncio.sleep(wait_s)
            try:
                return await self.encode_whole(item, priority)
            except PictureMissing as error:
                why = error
        raise why

    async def _decode(self, data: bytes, priority: Priority) -> Picture:
        if priority != Priority.BACKFILL:
            with self._precedence.live():
                return await _decoded(self._decoders, data)
        async with self._backfill_decodes:
            await self._precedence.backfill_turn()
            return await _decoded(self._decoders, data)

    async def _image_features(self, picture: Picture | None, priority: Priority) -> Floats | None:
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

    def _placed(self, item: Item, vectors: EncodedVectors) -> EncodedVectors:
        """Return an item's vectors with what the item tower makes of them."""
        if self._tower is None:
            return vectors
        key = np.array([item_key(item.item_id)], np.uint64)
        (tower,) = self._tower.vectors(key, vectors.vector[None].astype(np.float32))
        return replace(vectors, tower_vector=_half(tower) if tower.any() else NO_VECTOR)

    def _fuse(self, features: Floats | None, embedding: Floats | None) -> EncodedVectors:
        with _refusing_no_direction():
            return _halves(self._fusion.fuse(features, embedding))

    def _fuse_again(self, kept: Vector, embedding: Floats | None, missing: str) -> EncodedVectors:
        with _refusing_no_direction():
            if not kept.size:
                return _halves(self._fusion.fuse(None, embedding), missing)
            return _halves(self._fusion.fuse_again(kept.astype(np.float32), embedding), missing)


async def _decoded(decoders: Decoders, data: bytes) -> Picture:
    try:
        return await decoders.decode(data)
    except BadPicture as error:
        raise PictureMissing(BAD_PICTURE, str(error)) from None


@contextmanager
def _refusing_no_direction() -> Iterator[None]:
    try:
        yield
    except BadVector as error:
        raise BadRecord(NO_DIRECTION, str(error)) from None


def _halves(fused: FusedVectors, missing: str = "") -> EncodedVectors:
    return EncodedVectors(
        _half(fused.vector), _half(fused.image_vector), _half(fused.text_vector), missing
    )


def _half(vector: Floats | None) -> Vector:
    return NO_VECTOR if vector is None else vector.astype(np.float16)
