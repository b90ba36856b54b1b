"""Keep what items look like to whoever sees the page: as published, with pictures and offers."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.items import Item, decode_item
from freshet.contract.offers import Offer
from freshet.contract.records import BadRecord
from freshet.contract.topics import ITEMS, ITEMS_BACKFILL, OFFERS
from freshet.kafka_clients import KafkaSettings
from services.gateway.console.shown_offers import ShownOffers
from shared.runtime.topic_reader import TopicReader

ITEMS_AT_MOST: Final = 200_000  # about 1 KiB each beside its picture
SIGNS: Final = (  # how a picture begins → its media type
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)


class ItemCard(msgspec.Struct, frozen=True, gc=False):
    """What a card shows of an item; price, currency and stock as its offers have them.

    picture: names the bytes that are kept, empty without any. elsewhere: the item says by an
    address where its picture is; it is not fetched from there, as that tells who looks at what.
    """

    item_id: str
    title: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    price: float | None = None
    currency: str = ""
    in_stock: bool = True
    picture: str = ""
    elsewhere: bool = False


class ShownItems:
    """Follows items and offers; of two records of an item the later one counts."""

    def __init__(self, settings: KafkaSettings, pictures_bytes: int) -> None:
        """pictures_bytes: of all pictures; beyond it those that came first go."""
        self._make = partial(kafka_clients.consumer, settings)
        self._offers = ShownOffers()
        self._cards: dict[str, ItemCard] = {}
        self._own: dict[str, Offer] = {}  # what items say themselves of price and stock
        self._at_ms: OrderedDict[str, int] = OrderedDict()  # by item, deleted ones too
        self._pictures: OrderedDict[str, bytes] = OrderedDict()  # by item
        self._pictures_bytes = pictures_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._cards)

    def works(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """Return what never ends: the reading of each topic."""
        takes = ((ITEMS, self.take), (ITEMS_BACKFILL, self.take), (OFFERS, self._offers.take))
        return [partial(TopicReader(self._make, topic.name).run, take) for topic, take in takes]

    def card(self, item_id: str) -> ItemCard:
        """Return an item's card, an empty one where it is not known."""
        card = self._cards.get(item_id)
        if card is None:
            return ItemCard(item_id)
        price, currency, in_stock = self._offers.terms(self._own[item_id], self._at_ms[item_id])
        return msgspec.structs.replace(
            card, price=price, currency=currency or "", in_stock=in_stock is not False
        )

    def picture(self, item_id: str) -> tuple[bytes, str] | None:
        """Return an item's picture and its media type."""
        picture = self._pictures.get(item_id)
        return None if picture is None else (picture, media_type_of(picture))

    def take(self, consumed: Sequence[ConsumerRecord]) -> None:
        """Take records in. What is no item is embedding's to refuse."""
        for record in consumed:
            item_id = (record.key or b"").decode(errors="replace")
            if record.timestamp < self._at_ms.get(item_id, 0):
                continue
            try:
                item = _item_of(record)
            except BadRecord:
                continue
            self._at_ms[item_id] = record.timestamp
            self._at_ms.move_to_end(item_id)
            self._put(item_id, item)
        while len(self._at_ms) > ITEMS_AT_MOST:
            self._put(self._at_ms.popitem(last=False)[0], None)

    def _put(self, item_id: str, item: Item | None) -> None:
        self._bytes -= len(self._pictures.pop(item_id, b""))
        if item is None:
            self._cards.pop(item_id, None)
            self._own.pop(item_id, None)
            return
        picture = item.image_bytes or b""
        self._cards[item_id] = ItemCard(
            item_id,
            item.title,
            item.description,
            item.categories,
            picture=hashlib.sha256(picture).hexdigest()[:16] if picture else "",
            elsewhere=item.image_uri is not None,
        )
        self._own[item_id] = Offer(
            item_id=item_id,
            price=item.price,
            currency=item.currency,
            in_stock=item.in_stock,
            updated_ms=item.updated_ms,
        )
        if picture:
            self._pictures[item_id] = picture
            self._bytes += len(picture)
        while self._bytes > self._pictures_bytes:
            self._bytes -= len(self._pictures.popitem(last=False)[1])


def media_type_of(picture: bytes) -> str:
    """Return the media type of a picture, by how it begins."""
    if picture[:4] == b"RIFF":
        return "image/webp"
    if picture[4:8] == b"ftyp":
        return "image/avif"
    return next(
        (kind for sign, kind in SIGNS if picture.startswith(sign)), "application/octet-stream"
    )


def _item_of(record: ConsumerRecord) -> Item | None:
    if record.value is None:
        return None
    return decode_item(record.value, records.content_type(record.headers))
