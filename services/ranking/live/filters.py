"""Tell which rows a request's filters allow; bounds were checked before (requests.py).

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

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.offers import Offers
from services.ranking.live.row_masks import Mask, RowMasks, Rows
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.columns import Column
from shared.catalogue.labels import AttributeEntries, bits_of, kind_of, trimmed
from shared.catalogue.offers import ALWAYS_UNTIL
from shared.runtime.deadline import Deadline

FEW: Final = 16_384  # of fewer each is looked up among the values, of more each value among them


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
        self._masks = RowMasks(catalogue, partial(_what_it_is, catalogue))

    async def allowed(self, filters: pb.Filters, now_ms: int, deadline: Deadline) -> Mask:
        """Return which rows are allowed, (n,), read-only; without conditions it costs nothing.

        What items are is known for the filters of late, and else worked out piece by piece, with
        turns for other calls: as long as the catalogue is after that. Raises TimeoutError.
        """
        if not filters.ByteSize():  # as of most lists
            return self._availability.mask(now_ms)
        steady = _steady(filters)
        known = await self._masks.of(steady, deadline) if steady.ByteSize() else None
        available = self._availability.mask(
            now_ms,
            out_of_stock=filters.include_out_of_stock,
            outside_window=filters.include_unavailable,
        )
        conditions = [] if known is None else [known]
        conditions += [mask for _, mask in self._priced(filters, slice(0, len(available)))]
        return _all_of(available, conditions)

    def matches(self, filters: pb.Filters, rows: NDArray[np.int64], now_ms: int) -> Mask:
        """Return which of some rows are allowed, (m,), without a look at the others."""
        living = self._catalogue.alive[rows]
        return _all_of(living, [mask for _, mask in self.each(filters, rows, now_ms)])

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
        priced = self._priced(filters, rows)
        return [*available, *_what_it_is(self._catalogue, filters, rows), *priced]

    def _priced(self, filters: pb.Filters, rows: Rows) -> Iterator[tuple[str, Mask]]:
        """Yield the conditions of what offers change."""
        price = filters.price
        if filters.HasField("price"):
            # NaN, no price, is in no range.
            yield "price", _inside(self._terms.price[rows], price)
        if filters.currency:
            code = self._catalogue.currencies.known(filters.currency.strip().upper())
            yield "currency", self._terms.currency[rows] == (-1 if code is None else code)
        elif price.HasField("min") or price.HasField("max"):
            common = self._currencies.mixed()
            if common:
                codes = self._terms.currency[rows]
                yield "currency", (codes == common) | (codes == 0)


def _steady(filters: pb.Filters) -> pb.Filters:
    """Return the conditions of what an item is, without those that offers change."""
    return pb.Filters(
        categories_any=filters.categories_any,
        categories_none=filters.categories_none,
        tags_any=filters.tags_any,
        attributes=filters.attributes,
    )


def _what_it_is(
    catalogue: Catalogue, filters: pb.Filters, rows: Rows
) -> Iterator[tuple[str, Mask]]:
    """Yield the conditions of labels and attributes, each worked out when it is asked for."""
    categories, tags = catalogue.category_sets, catalogue.tag_sets
    if filters.categories_any:
        yield "categories_any", categories.carrying(_stripped(filters.categories_any), rows)
    if filters.categories_none:
        yield "categories_none", ~categories.carrying(_stripped(filters.categories_none), rows)
    if filters.tags_any:
        yield "tags_any", tags.carrying(_stripped(filters.tags_any), rows)
    for asked in filters.attributes:
        if isinstance(rows, slice):
            having = _having(asked, catalogue.attributes.entries(), len(catalogue))[rows]
        else:
            having = _having(asked, catalogue.attributes.entries(rows), len(rows))
        yield "attributes", having


def _having(asked: pb.AttributeFilter, entries: AttributeEntries, rows: int) -> Mask:
    """Return which rows have an attribute as it is asked for, (rows,)."""
    having, name = np.zeros(rows, np.bool_), asked.name.strip()
    by_kind: dict[type, list[int]] = {str: [], float: [], bool: []}
    for each in asked.any_of:
        if (value := _value(each)) is not None:
            by_kind[kind_of(value)].append(bits_of(value))
    for kind, values in by_kind.items():
        if (asked.any_of and not values) or (asked.HasField("range") and kind is not float):
            continue
        at, bits = entries.carriers(name, kind)
        if asked.any_of:
            fits = _among(bits, values)
            at, bits = at[fits], bits[fits]
        if asked.HasField("range"):
            at = at[_inside(bits.view(np.float64), asked.range)]
        having[at] = True
    return having


def _all_of(available: Mask, conditions: list[Mask]) -> Mask:
    if not conditions:
        return available
    allowed = conditions[0] & available
    for condition in conditions[1:]:
        allowed &= condition
    return allowed


def _stripped(labels: Iterable[str]) -> list[str]:
    return [label.strip() for label in labels]


def _among(bits: NDArray[np.int64], values: list[int]) -> Mask:
    """Tell which bits are among some values."""
    if len(bits) > FEW:
        among = np.zeros(len(bits), np.bool_)
        for value in values:
            among |= bits == value
        return among
    wanted = np.sort(np.array(values, np.int64))
    found: Mask = wanted.take(wanted.searchsorted(bits), mode="clip") == bits
    return found


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
