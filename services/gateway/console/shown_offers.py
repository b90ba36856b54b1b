"""Keep what offers say of price and stock, merged group by group as ranking does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord

from freshet.contract.offers import Offer
from freshet.contract.records import BadRecord
from shared.catalogue.offers import NOTHING, OfferChange, change_of
from shared.catalogue.versions import UNSTATED, RecordVersion

FIELDS: Final = ("price", "currency", "in_stock")  # the first of offers.GROUPS
ITEMS_AT_MOST: Final = 200_000  # whose offers are kept


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
            try:
                change = change_of(record)
            except BadRecord:
                continue
            self._put(self._stated.setdefault(change.item_id, {}), change)
            self._stated.move_to_end(change.item_id)
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
    def _put(stated: dict[str, _Stated], change: OfferChange) -> None:
        for column, name in enumerate(FIELDS):
            stands = stated[name].version if name in stated else None
            version = change.replacing(column, stands)
            if version is not None:
                stated[name] = _Stated(version, getattr(change.offer or NOTHING, name))


def _term(held: Any, stated: _Stated | None, own: Offer, at_ms: int) -> Any:
    if stated is None or stated.value is None:
        return held
    return held if held is not None and _is_older(stated.version, own, at_ms) else stated.value


def _is_older(version: RecordVersion, own: Offer, at_ms: int) -> bool:
    """Say whether an offer is older than its item: by the shop's clock where both state it."""
    if own.updated_ms is not None and version.updated_ms != UNSTATED:
        return version.updated_ms < own.updated_ms
    return version.place.time_ms < at_ms
