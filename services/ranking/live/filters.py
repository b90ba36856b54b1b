"""Filters → the rows that they allow. Pure; bounds were checked at the door (requests.py).

Everything set in a `Filters` must hold:
- categories_any, tags_any: the item carries at least one; categories_none: it carries none.
- price: the item has a price inside the range, both ends included, and, where `currency` is set,
  in that currency.
- attributes: the item has an attribute of the name; with `any_of` one that equals a value in kind
  and value; with `range` a number inside it. With both, both hold.
- Living, in stock and inside its window, unless `include_*` says otherwise.

Legend: n rows of the catalogue; s label sets; m rows asked about.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.availability import Availability
from services.ranking.live.offers import Offers
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.labels import LabelSets, bits_of, kind_of

Rows = NDArray[np.int64] | slice


class ItemFilter:
    """Answers filters over a catalogue with its offers."""

    def __init__(self, catalogue: Catalogue, offers: Offers, availability: Availability) -> None:
        self._catalogue = catalogue
        self._terms = offers.terms
        self._availability = availability

    def allowed(self, filters: pb.Filters, now_ms: int) -> NDArray[np.bool_]:
        """Return which rows are allowed, (n,), read-only; without conditions it costs nothing."""
        available = self._available(filters, now_ms)
        conditions = self._conditions(filters, slice(0, len(available)))
        return _all_of(available, conditions)

    def matches(
        self, filters: pb.Filters, rows: NDArray[np.int64], now_ms: int
    ) -> NDArray[np.bool_]:
        """Return which of some rows are allowed, (m,), read-only."""
        available = self._available(filters, now_ms)
        return _all_of(available[rows], self._conditions(filters, rows))

    def _available(self, filters: pb.Filters, now_ms: int) -> NDArray[np.bool_]:
        return self._availability.mask(
            now_ms,
            out_of_stock=filters.include_out_of_stock,
            outside_window=filters.include_unavailable,
        )

    def _conditions(self, filters: pb.Filters, rows: Rows) -> list[NDArray[np.bool_]]:
        categories, tags = self._catalogue.category_sets, self._catalogue.tag_sets
        conditions = []
        if filters.categories_any:
            conditions.append(_carrying(categories, filters.categories_any, rows))
        if filters.categories_none:
            conditions.append(~_carrying(categories, filters.categories_none, rows))
        if filters.tags_any:
            conditions.append(_carrying(tags, filters.tags_any, rows))
        if filters.HasField("price"):
            conditions.append(self._priced(filters.price, filters.currency, rows))
        for wanted in filters.attributes:
            conditions.append(self._having(wanted)[rows])
        return conditions

    def _priced(self, price: pb.Range, currency: str, rows: Rows) -> NDArray[np.bool_]:
        inside = _inside(self._terms.price[rows], price)  # NaN, no price, is in no range
        if currency:
            code = self._catalogue.currencies.known(currency)
            inside &= self._terms.currency[rows] == (-1 if code is None else code)
        return inside

    def _having(self, wanted: pb.AttributeFilter) -> NDArray[np.bool_]:
        """Return which rows have a wanted attribute, (n,)."""
        attributes = self._catalogue.attributes
        having = np.zeros(len(self._catalogue), np.bool_)
        if wanted.any_of:
            values = [value for each in wanted.any_of if (value := _value(each)) is not None]
            for kind in {kind_of(value) for value in values}:
                rows, bits = attributes.carriers(wanted.name, kind)
                kept = np.zeros(len(rows), np.bool_)
                for value in values:
                    if kind_of(value) is kind:
                        kept |= bits == bits_of(value)
                if wanted.HasField("range"):
                    kept &= kind is float and _inside(bits.view(np.float64), wanted.range)
                having[rows[kept]] = True
        elif wanted.HasField("range"):
            rows, bits = attributes.carriers(wanted.name, float)
            having[rows[_inside(bits.view(np.float64), wanted.range)]] = True
        else:
            for kind in (str, float, bool):
                having[attributes.carriers(wanted.name, kind)[0]] = True
        return having


def _all_of(available: NDArray[np.bool_], conditions: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    if not conditions:
        return available
    allowed = conditions[0] & available
    for condition in conditions[1:]:
        allowed &= condition
    return allowed


def _carrying(sets: LabelSets, labels: Iterable[str], rows: Rows) -> NDArray[np.bool_]:
    carrying: NDArray[np.bool_] = sets.any_of(labels).take(sets.ids[rows])
    return carrying


def _inside(values: NDArray[np.float64], wanted: pb.Range) -> NDArray[np.bool_]:
    """Tell which numbers lie in a range; NaN lies in none."""
    low = wanted.min if wanted.HasField("min") else -np.inf
    high = wanted.max if wanted.HasField("max") else np.inf
    inside: NDArray[np.bool_] = (values >= low) & (values <= high)
    return inside


def _value(attribute: item_pb2.Attribute) -> Attribute | None:
    """Return a wanted value; None for a kind of a newer client, which no item has."""
    kind = attribute.WhichOneof("value")
    return None if kind is None else getattr(attribute, kind)
