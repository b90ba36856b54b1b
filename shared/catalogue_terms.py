"""Terms: what offers change about an item (price with currency, stock, window), by row.

The catalogue holds an item's own terms; ranking holds them merged with offers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.catalogue_columns import Codes, Column
from shared.items import Item, Offer

# Which groups a record carries: bits of `carried`.
PRICE: Final = 1
STOCK: Final = 2
WINDOW: Final = 4
GROUPS: Final = (PRICE, STOCK, WINDOW)
ALL: Final = PRICE | STOCK | WINDOW

ALWAYS_FROM: Final = np.iinfo(np.int64).min
ALWAYS_UNTIL: Final = np.iinfo(np.int64).max


class Terms:
    """Columns by row. Where a group is not carried its columns hold the defaults.

    price: float64, NaN where unknown (float64, because 19.99 must lie in a range from 19.99).
    currency: int16 codes. in_stock: bool, true by default. available_from, available_until: int64
    ms; an item is available from the first, and before the second.
    """

    def __init__(self, currencies: Codes) -> None:
        self.currencies = currencies
        self._columns = (
            Column(np.uint8),
            Column(np.float64, fill=np.nan),
            Column(np.int16),
            Column(np.bool_, fill=True),
            Column(np.int64, fill=ALWAYS_FROM),
            Column(np.int64, fill=ALWAYS_UNTIL),
        )
        self._take_columns()

    def _take_columns(self) -> None:
        self.carried: NDArray[np.uint8]
        self.price: NDArray[np.float64]
        self.currency: NDArray[np.int16]
        self.in_stock: NDArray[np.bool_]
        self.available_from: NDArray[np.int64]
        self.available_until: NDArray[np.int64]
        (
            self.carried,
            self.price,
            self.currency,
            self.in_stock,
            self.available_from,
            self.available_until,
        ) = (column.data for column in self._columns)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > len(self.carried):
            for column in self._columns:
                column.reserve(rows)
            self._take_columns()

    def put(self, row: int, record: Item | Offer, groups: int = ALL) -> None:
        """Take some groups of a row from a record, the defaults where it does not carry them.

        A currency without a price says nothing, so it carries no group.
        """
        carried = groups_of(record) & groups
        self.carried[row] = (int(self.carried[row]) & ~groups) | carried
        if groups & PRICE:
            priced = record.price is not None
            self.price[row] = record.price if priced else np.nan
            self.currency[row] = self.currencies.code(record.currency or "") if priced else 0
        if groups & STOCK:
            self.in_stock[row] = record.in_stock is not False
        if groups & WINDOW:
            start, end = record.available_from_ms, record.available_until_ms
            self.available_from[row] = ALWAYS_FROM if start is None else start
            self.available_until[row] = ALWAYS_UNTIL if end is None else end

    def copy_group(
        self, group: int, rows: NDArray[np.int64], source: Terms, source_rows: NDArray[np.int64]
    ) -> None:
        """Copy one group of some rows from other terms with the same currencies."""
        if group == PRICE:
            self.price[rows] = source.price[source_rows]
            self.currency[rows] = source.currency[source_rows]
        elif group == STOCK:
            self.in_stock[rows] = source.in_stock[source_rows]
        else:
            self.available_from[rows] = source.available_from[source_rows]
            self.available_until[rows] = source.available_until[source_rows]
        self.carried[rows] = (self.carried[rows] & ~np.uint8(group)) | (
            source.carried[source_rows] & np.uint8(group)
        )


def groups_of(record: Item | Offer) -> int:
    """Return the bits of the groups that a record carries."""
    windowed = record.available_from_ms is not None or record.available_until_ms is not None
    return (
        (PRICE if record.price is not None else 0)
        | (STOCK if record.in_stock is not None else 0)
        | (WINDOW if windowed else 0)
    )
