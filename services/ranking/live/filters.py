"""Tell which rows a request's filters allow. Pure; bounds were checked before (requests.py).

Everything set in a `Filters` must hold:
- categories_any, tags_any: the item carries at least one; categories_none: it carries none. Letters
  count as they are, blanks around a name do not.
- price: the item has a price inside the range, both ends included.
- currency: the item has a price in it. Without one, a range with an end is meant in the currency
  that most prices are in, and prices without a currency are taken to be in that: no two
  currencies' numbers are compared.
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
from services.ranking.live.offers import Offers
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.columns import Column
from shared.catalogue.labels import LabelSets, bits_of, kind_of, trimmed
from shared.catalogue.offer_columns import ALWAYS_UNTIL

Rows = NDArray[np.int64] | slice
Mask = NDArray[np.bool_]


class Availability:
    """Tells what may be recommended now: living, in stock, inside its window.

    Kept up to date row by row as items and offers change; windows are looked at again when the
    next edge of one is reached, so that a request only reads a mask.
    """

    def __init__(self, catalogue: Catalogue, offers: Offers) -> None:
        self._catalogue = catalogue
        self._terms = offers.terms
        self._open = Column(np.bool_)  # inside the window
        self._available = Column(np.bool_)  # and living and in stock
        self._as_of_ms = 0
        self._next_edge_ms = 0  # nothing opens or closes between the two times
        offers.listen(self._refresh)
        self._look_at_all(0)

    def mask(
        self, now_ms: int, *, out_of_stock: bool = False, outside_window: bool = False
    ) -> Mask:
        """Return the rows that may be recommended, (n,), read-only; true flags allow more."""
        self._bring_to(now_ms)
        rows = len(self._catalogue)
        if not out_of_stock and not outside_window:
            mask = self._available.data[:rows]
        else:
            mask = self._catalogue.alive.copy()
            if not out_of_stock:
                mask &= self._terms.in_stock[:rows]
            if not outside_window:
                mask &= self._open.data[:rows]
        mask.flags.writeable = False
        return mask

    def each(
        self, rows: Rows, now_ms: int, *, out_of_stock: bool, outside_window: bool
    ) -> list[tuple[str, Mask]]:
        """Return what `mask` says of some rows, (m,), taken apart by condition."""
        self._bring_to(now_ms)
        masks = []
        if not out_of_stock:
            masks.append(("in_stock", self._terms.in_stock[rows]))
        if not outside_window:
            masks.append(("window", self._open.data[rows]))
        return masks

    def _bring_to(self, now_ms: int) -> None:
        if not self._as_of_ms <= now_ms < self._next_edge_ms:
            self._look_at_all(now_ms)

    def _look_at_all(self, now_ms: int) -> None:
        rows = len(self._catalogue)
        self._as_of_ms, self._next_edge_ms = now_ms, ALWAYS_UNTIL
        self._look_at(slice(0, rows))

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        self._look_at(rows)

    def _look_at(self, rows: Rows) -> None:
        """Work out some rows as of the time of the last look."""
        self._open.reserve(len(self._catalogue))
        self._available.reserve(len(self._catalogue))
        start, end = self._terms.available_from[rows], self._terms.available_until[rows]
        opened, closed = start <= self._as_of_ms, end <= self._as_of_ms
        is_open = opened & ~closed
        self._open.data[rows] = is_open
        available = is_open & self._terms.in_stock[rows]
        self._available.data[rows] = available & self._catalogue.alive[rows]
        for edges in (start[~opened], end[~closed]):
            if len(edges):
                self._next_edge_ms = min(self._next_edge_ms, int(edges.min()))


class PriceCurrencies:
    """Counts the living items' prices by currency, row by row as items and offers change."""

    def __init__(self, catalogue: Catalogue, offers: Offers) -> None:
        self._catalogue = catalogue
        self._terms = offers.terms
        self._counted = Column(np.int16)  # the code with which a row is counted; 0: none
        self._counts = np.zeros(1, np.int64)  # by code
        offers.listen(self._count)
        self._count(np.arange(len(catalogue)))

    def mixed(self) -> int:
        """Return the code of the commonest currency, 0 where there are not several."""
        named = self._counts[1:]
        return int(named.argmax()) + 1 if np.count_nonzero(named) > 1 else 0

    def _count(self, rows: NDArray[np.int64]) -> None:
        self._counted.reserve(len(self._catalogue))
        before = self._counted.data[rows]
        now = np.where(self._catalogue.alive[rows], self._terms.currency[rows], 0)
        codes = len(self._catalogue.currencies.words())
        counts = np.bincount(now, minlength=codes) - np.bincount(before, minlength=codes)
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self._counted.data[rows] = now


class ItemFilter:
    """Answers filters over a catalogue with its offers."""

    def __init__(self, catalogue: Catalogue, offers: Offers) -> None:
        self._catalogue = catalogue
        self._terms = offers.terms
        self._availability = Availability(catalogue, offers)
        self._currencies = PriceCurrencies(catalogue, offers)

    def allowed(self, filters: pb.Filters, now_ms: int) -> Mask:
        """Return which rows are allowed, (n,), read-only; without conditions it costs nothing."""
        available = self._available(filters, now_ms)
        return _all_of(available, self._conditions(filters, slice(0, len(available))))

    def matches(self, filters: pb.Filters, rows: NDArray[np.int64], now_ms: int) -> Mask:
        """Return which of some rows are allowed, (m,), read-only."""
        available = self._available(filters, now_ms)
        return _all_of(available[rows], self._conditions(filters, rows))

    def each(
        self, filters: pb.Filters, rows: NDArray[np.int64], now_ms: int
    ) -> list[tuple[str, Mask]]:
        """Return which of some living rows each condition allows, (m,), with its name."""
        available = self._availability.each(
            rows,
            now_ms,
            out_of_stock=filters.include_out_of_stock,
            outside_window=filters.include_unavailable,
        )
        return available + self._conditions(filters, rows)

    def _available(self, filters: pb.Filters, now_ms: int) -> Mask:
        return self._availability.mask(
            now_ms,
            out_of_stock=filters.include_out_of_stock,
            outside_window=filters.include_unavailable,
        )

    def _conditions(self, filters: pb.Filters, rows: Rows) -> list[tuple[str, Mask]]:
        categories, tags = self._catalogue.category_sets, self._catalogue.tag_sets
        conditions = []
        if filters.categories_any:
            carried = _carrying(categories, filters.categories_any, rows)
            conditions.append(("categories_any", carried))
        if filters.categories_none:
            carried = _carrying(categories, filters.categories_none, rows)
            conditions.append(("categories_none", ~carried))
        if filters.tags_any:
            conditions.append(("tags_any", _carrying(tags, filters.tags_any, rows)))
        if filters.HasField("price"):
            # NaN, no price, is in no range.
            conditions.append(("price", _inside(self._terms.price[rows], filters.price)))
        conditions += self._in_currency(filters, rows)
        for asked in filters.attributes:
            conditions.append(("attributes", self._having(asked)[rows]))
        return conditions

    def _in_currency(self, filters: pb.Filters, rows: Rows) -> list[tuple[str, Mask]]:
        codes, price = self._terms.currency[rows], filters.price
        if filters.currency:
            code = self._catalogue.currencies.known(filters.currency.strip().upper())
            return [("currency", codes == (-1 if code is None else code))]
        if price.HasField("min") or price.HasField("max"):
            common = self._currencies.mixed()
            if common:
                return [("currency", (codes == common) | (codes == 0))]
        return []

    def _having(self, asked: pb.AttributeFilter) -> Mask:
        """Return which rows have an attribute as it is asked for, (n,)."""
        attributes, name = self._catalogue.attributes, asked.name.strip()
        having = np.zeros(len(self._catalogue), np.bool_)
        if asked.any_of:
            values = [value for each in asked.any_of if (value := _value(each)) is not None]
            for kind in {kind_of(value) for value in values}:
                rows, bits = attributes.carriers(name, kind)
                fits = np.zeros(len(rows), np.bool_)
                for value in values:
                    if kind_of(value) is kind:
                        fits |= bits == bits_of(value)
                if asked.HasField("range"):
                    fits &= kind is float and _inside(bits.view(np.float64), asked.range)
                having[rows[fits]] = True
        elif asked.HasField("range"):
            rows, bits = attributes.carriers(name, float)
            having[rows[_inside(bits.view(np.float64), asked.range)]] = True
        else:
            for kind in (str, float, bool):
                having[attributes.carriers(name, kind)[0]] = True
        return having


def _all_of(available: Mask, conditions: list[tuple[str, Mask]]) -> Mask:
    if not conditions:
        return available
    allowed = conditions[0][1] & available
    for _, condition in conditions[1:]:
        allowed &= condition
    return allowed


def _carrying(sets: LabelSets, labels: Iterable[str], rows: Rows) -> Mask:
    carrying: Mask = sets.any_of(map(str.strip, labels)).take(sets.ids[rows])
    return carrying


def _inside(values: NDArray[np.float64], range: pb.Range) -> Mask:
    """Tell which numbers lie in a range; NaN lies in none."""
    low = range.min if range.HasField("min") else -np.inf
    high = range.max if range.HasField("max") else np.inf
    inside: Mask = (values >= low) & (values <= high)
    return inside


def _value(attribute: item_pb2.Attribute) -> Attribute | None:
    """Return an attribute's value; None for a kind of a newer client, which no item has."""
    kind = attribute.WhichOneof("value")
    return None if kind is None else trimmed(getattr(attribute, kind))
