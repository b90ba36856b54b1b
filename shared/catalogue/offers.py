"""Say what records of `offers` change about an item, and hold it by row.

Price, currency, stock and window are four groups, each merged by itself. The catalogue holds an
item's own; ranking holds them merged with offers, and the console shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.contract import records
from freshet.contract.items import Item
from freshet.contract.offers import Offer, decode_offer
from freshet.contract.records import BadRecord, ConsumedRecord, Origin
from shared.catalogue.columns import Codes, Column
from shared.catalogue.versions import RecordVersion, record_version

# Which groups a record carries: bits of `carried`.
PRICE: Final = 1
STOCK: Final = 2
WINDOW: Final = 4
CURRENCY: Final = 8
GROUPS: Final = (PRICE, CURRENCY, STOCK, WINDOW)
ALL: Final = PRICE | CURRENCY | STOCK | WINDOW
NOTHING: Final = Offer(item_id="")  # what a null carries: every group, with nothing in it

ALWAYS_FROM: Final = np.iinfo(np.int64).min
ALWAYS_UNTIL: Final = np.iinfo(np.int64).max

Versions = tuple[RecordVersion | None, ...]  # by group, in the order of GROUPS; None: never stated


class OfferChange(NamedTuple):
    """One record of `offers`: an offer, or None where it was taken back."""

    item_id: str
    offer: Offer | None
    origin: Origin
    versions: Versions | None = None  # of what several records had said, published as one

    def version(self, column: int, stands: RecordVersion | None) -> RecordVersion | None:
        """Return the version of a group beside what stands for it; None if it is not stated."""
        if self.versions is not None:
            return self.versions[column]
        if self.offer is None:
            return record_version(None, self.origin, stands)
        if not groups_of(self.offer) & GROUPS[column]:
            return None
        return record_version(self.offer.updated_ms, self.origin, stands)

    def replacing(self, column: int, stands: RecordVersion | None) -> RecordVersion | None:
        """Return the version by which a group replaces what stands for it; None if it does not."""
        version = self.version(column, stands)
        if version is None or (stands is not None and version.is_behind(stands)):
            return None
        return version


def change_of(record: ConsumedRecord) -> OfferChange:
    """Return what a record of `offers` says. Raises BadRecord."""
    origin = records.origin_of(record)
    versions = _versions_in(records.header(record.headers, records.WHOLE))
    if record.value is None:
        try:
            return OfferChange((record.key or b"").decode(), None, origin, versions)
        except UnicodeDecodeError as error:
            raise BadRecord(records.WRONG_KEY, f"the key must be UTF-8: {error}") from None
    offer = decode_offer(record.value, records.content_type(record.headers))
    records.check_key(record.key, offer.item_id)
    return OfferChange(offer.item_id, offer, origin, versions)


def written(versions: Versions) -> bytes:
    """Write the versions of the groups for the header WHOLE, a comma between two."""
    return b",".join(version.written() if version is not None else b"" for version in versions)


def _versions_in(header: bytes | None) -> Versions | None:
    """Read the versions of the groups; None where there are none that read as such."""
    parts = (header or b"").split(b",")
    if len(parts) != len(GROUPS):
        return None
    try:
        return tuple(RecordVersion.read(part) if part else None for part in parts)
    except ValueError:
        return None


class OfferColumns:
    """Columns by row. Where a group is not carried its columns hold the defaults.

    price: float64, NaN where unknown (float64, because 19.99 must lie in a range from 19.99).
    currency: int16 codes. in_stock: bool, true by default. available_from, available_until: int64
    ms; an item is available from the first, and before the second.
    """

    def __init__(self, currencies: Codes) -> None:
        self.currencies = currencies
        self._columns = {
            "carried": Column(np.uint8),
            "price": Column(np.float64, fill=np.nan),
            "currency": Column(np.int16),
            "in_stock": Column(np.bool_, fill=True),
            "available_from": Column(np.int64, fill=ALWAYS_FROM),
            "available_until": Column(np.int64, fill=ALWAYS_UNTIL),
        }
        self._take_columns()

    def _take_columns(self) -> None:
        data = {name: column.data for name, column in self._columns.items()}
        self.carried: NDArray[np.uint8] = data["carried"]
        self.price: NDArray[np.float64] = data["price"]
        self.currency: NDArray[np.int16] = data["currency"]
        self.in_stock: NDArray[np.bool_] = data["in_stock"]
        self.available_from: NDArray[np.int64] = data["available_from"]
        self.available_until: NDArray[np.int64] = data["available_until"]

    def columns(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return copies of all columns at some rows, by name."""
        return {name: column.data[rows] for name, column in self._columns.items()}

    def restore(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take the columns of rows 0, 1, …, by name."""
        for name, column in self._columns.items():
            column.reserve(len(columns[name]))
            column.data[: len(columns[name])] = columns[name]
        self._take_columns()
        # Snapshots of earlier releases have currencies without the bit.
        self.carried |= np.where(self.currency != 0, np.uint8(CURRENCY), np.uint8(0))

    def reserve(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > len(self.carried):
            for column in self._columns.values():
                column.reserve(rows)
            self._take_columns()

    def put(self, row: int, record: Item | Offer, groups: int = ALL) -> None:
        """Take some groups of a row from a record, the defaults where it does not carry them."""
        carried = groups_of(record) & groups
        self.carried[row] = (int(self.carried[row]) & ~groups) | carried
        if groups & PRICE:
            self.price[row] = np.nan if record.price is None else record.price
        if groups & CURRENCY:
            self.currency[row] = self.currencies.code(record.currency or "")
        if groups & STOCK:
            self.in_stock[row] = record.in_stock is not False
        if groups & WINDOW:
            start, end = record.available_from_ms, record.available_until_ms
            self.available_from[row] = ALWAYS_FROM if start is None else start
            self.available_until[row] = ALWAYS_UNTIL if end is None else end

    def fields(self, row: int) -> dict[str, Any]:
        """Return the fields of an item or offer that a row carries, by name."""
        carried, found = int(self.carried[row]), dict[str, Any]()
        if carried & PRICE:
            found["price"] = float(self.price[row])
        if carried & CURRENCY:
            found["currency"] = self.currencies.word(int(self.currency[row]))
        if carried & STOCK:
            found["in_stock"] = bool(self.in_stock[row])
        start, end = int(self.available_from[row]), int(self.available_until[row])
        if start != ALWAYS_FROM:
            found["available_from_ms"] = start
        if end != ALWAYS_UNTIL:
            found["available_until_ms"] = end
        return found

    def copy_group(
        self,
        group: int,
        rows: NDArray[np.int64],
        source: OfferColumns,
        source_rows: NDArray[np.int64],
    ) -> None:
        """Copy one group of some rows from other terms with the same currencies."""
        if group == PRICE:
            self.price[rows] = source.price[source_rows]
        elif group == CURRENCY:
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
        | (CURRENCY if record.currency is not None else 0)
        | (STOCK if record.in_stock is not None else 0)
        | (WINDOW if windowed else 0)
    )
