"""Keep what offers say of price and stock, merged as ranking does (ranking/live/offers.py)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord

from freshet.contract import records
from freshet.contract.offers import Offer, decode_offer
from freshet.contract.records import BadRecord
from shared.catalogue.versions import UNSTATED, RecordVersion, record_version

FIELDS: Final = ("price", "currency", "in_stock")  # each a group of its own, in this order
ITEMS_AT_MOST: Final = 200_000  # whose offers are kept
_NOTHING: Final = Offer(item_id="")  # an offer that was taken back


class _Stated(NamedTuple):
    """What stands for a field: which record's word it is, and its value, None: taken back."""

    version: RecordVersion
    value: Any


class ShownOffers:
    """Follows `offers`; a field stands as the newest record that carries it says."""

    def __init__(self) -> None:
        self._stated: OrderedDict[str, dict[str, _Stated]] = OrderedDict()  # by item, by field

    def take(self, consumed: Sequence[ConsumerRecord]) -> None:
        """Take records in. What is no offer is ranking's to refuse."""
        for record in consumed:
            item_id = (record.key or b"").decode(errors="replace")
            try:
                offer = _offer_of(record)
            except BadRecord:
                continue
            self._put(self._stated.setdefault(item_id, {}), record, offer)
            self._stated.move_to_end(item_id)
        while len(self._stated) > ITEMS_AT_MOST:
            self._stated.popitem(last=False)

    def terms(self, own: Offer, at_ms: int) -> list[Any]:
        """Return an item's FIELDS, None where nothing is said.

        own: what the item says itself; at_ms: the log's time of that. What an offer says stands
        unless the item says otherwise later.
        """
        stated = self._stated.get(own.item_id, {})
        return [_term(getattr(own, name), stated.get(name), own, at_ms) for name in FIELDS]

    @staticmethod
    def _put(stated: dict[str, _Stated], record: ConsumerRecord, offer: Offer | None) -> None:
        versions = _whole(records.header(record.headers, records.WHOLE))
        version: RecordVersion | None
        for index, name in enumerate(FIELDS):
            value = getattr(offer or _NOTHING, name)
            stands = stated[name].version if name in stated else None
            if versions:  # several records' words, published as one
                version = versions[index]
            elif offer is not None and value is None:
                version = None  # it says nothing of it
            else:
                updated_ms = offer.updated_ms if offer else None
                version = record_version(updated_ms, records.origin_of(record), stands)
            if version is not None and (stands is None or not version.is_behind(stands)):
                stated[name] = _Stated(version, value)


def _term(held: Any, stated: _Stated | None, own: Offer, at_ms: int) -> Any:
    if stated is None or stated.value is None:
        return held
    return held if held is not None and _is_older(stated.version, own, at_ms) else stated.value


def _is_older(version: RecordVersion, own: Offer, at_ms: int) -> bool:
    """Say whether an offer is older than its item: by the shop's clock where both state it."""
    if own.updated_ms is not None and version.updated_ms != UNSTATED:
        return version.updated_ms < own.updated_ms
    return version.place.time_ms < at_ms


def _whole(header: bytes | None) -> list[RecordVersion | None]:
    """Read whose words a record that ranking published joins; empty where it joins none."""
    try:
        parts = header.split(b",") if header else []
        versions = [RecordVersion.read(part) if part else None for part in parts]
    except ValueError:
        return []
    return versions if len(versions) >= len(FIELDS) else []


def _offer_of(record: ConsumerRecord) -> Offer | None:
    if record.value is None:
        return None
    return decode_offer(record.value, records.content_type(record.headers))
