"""Read a large table of events all at once, by Polars and lazily: only numbers stay in memory.

What it is not sure of, it leaves: the rows are then read one by one, by the import's own forms.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from freshet.contract import bounds
from freshet.contract.events import FORGET
from freshet.contract.records import BadRecord
from services.training.data.events.log import NO_CHOICE, EventLog
from services.training.data.histories import Ints
from shared.inputs.cells import TIME_AT_LEAST_MS, TIME_BELOW_MS, TIME_UNITS
from shared.inputs.convert import Reading
from shared.inputs.rows import Table

if TYPE_CHECKING:
    import polars

TEXT: Final = (".csv", ".tsv")
IDS: Final = ("user_id", "item_id")


def read_bulk(file: Path, table: Table, reading: Reading) -> EventLog | None:
    """Return the events; None for a file, a column or a value that this cannot read for sure."""
    try:
        import polars
    except ModuleNotFoundError:
        return None
    ending = file.suffix.lower()
    if ending not in (*TEXT, ".parquet") or reading.decimal_comma:
        return None
    try:
        if ending == ".parquet":
            rows = polars.scan_parquet(file)
        else:
            rows = polars.scan_csv(file, separator=table.delimiter, infer_schema=False)
        return _Bulk(rows, reading).read()
    except (polars.exceptions.PolarsError, BadRecord, OSError):
        return None


class _Bulk:
    def __init__(self, rows: polars.LazyFrame, reading: Reading) -> None:
        columns = {field: column for column, field in (reading.columns or {}).items()}
        kinds = rows.collect_schema()
        self._columns = columns
        self._kinds = {field: kinds[column] for field, column in columns.items()}
        self._every = rows
        self._rows = self._chosen()

    def read(self) -> EventLog | None:
        import polars

        if not all(self._is_id(field) for field in IDS) or self._forgets():
            return None
        user_ids, item_ids = tables = [self._ids(field) for field in IDS]
        numbers = [
            self._text(field).cast(polars.Enum(ids)).to_physical().alias(field)
            for field, ids in zip(IDS, tables, strict=True)
        ]
        others = [self._number(field) for field in ("time_ms", "value") if field in self._columns]
        found = self._rows.select(*numbers, *others).collect(engine="streaming")
        if any(column.null_count() for column in found):
            return None
        times_ms = values = None
        if "time_ms" in self._columns:
            times_ms = self._times_ms(found.drop_in_place("time_ms").to_numpy())
            if times_ms is None:
                return None
        if "value" in self._columns:
            values = found.drop_in_place("value").to_numpy()
            if not np.isfinite(values).all():
                return None
        users, items = (found.drop_in_place(field).to_numpy().astype(np.int64) for field in IDS)
        return EventLog(tuple(user_ids), tuple(item_ids), users, items, times_ms, values)

    def _chosen(self) -> polars.LazyFrame:
        """Leave out what says no to an item."""
        if "type" not in self._columns:
            return self._every
        return self._every.filter(~self._type().is_in(sorted(NO_CHOICE)))

    def _forgets(self) -> bool:
        """Say whether any event is a `forget`, which undoes those before it."""
        if "type" not in self._columns:
            return False
        forgets = self._every.select((self._type() == FORGET).any())
        return bool(forgets.collect(engine="streaming").item())

    def _type(self) -> polars.Expr:
        return self._text("type").str.strip_chars(" ").str.to_lowercase()

    def _is_id(self, field: str) -> bool:
        import polars

        return bool(self._kinds[field] == polars.String or self._kinds[field].is_integer())

    def _text(self, field: str) -> polars.Expr:
        import polars

        return polars.col(self._columns[field]).cast(polars.String)

    def _ids(self, field: str) -> polars.Series:
        """Return the ids of a column in their order. Raises BadRecord for one that is none."""
        ids = self._rows.select(self._text(field).unique().sort()).collect(engine="streaming")
        for each in ids.to_series():
            bounds.check_id(field, each or "")
        return ids.to_series()

    def _number(self, field: str) -> polars.Expr:
        """Return a column as numbers, null where it is none."""
        import polars

        column, kind = polars.col(self._columns[field]), self._kinds[field]
        if field == "value":
            return column.cast(polars.Float32, strict=False).alias(field)
        if kind.is_temporal():
            return column.cast(polars.Datetime("ms")).to_physical().alias(field)
        return column.cast(polars.Int64, strict=False).alias(field)

    def _times_ms(self, numbers: Ints) -> Ints | None:
        """Read times as `cells.time_ms` does, in the one unit that each can be in."""
        if self._kinds["time_ms"].is_temporal():
            times_ms = numbers
        else:
            times_ms = np.zeros(len(numbers), np.int64)
            stated_ms = self._columns["time_ms"].lower().endswith("ms")
            for name, factor in reversed(TIME_UNITS.items()):  # the first that fits is written last
                if stated_ms and name != "ms":
                    continue
                in_ms = numbers * float(factor)
                fits = (in_ms >= TIME_AT_LEAST_MS) & (in_ms < TIME_BELOW_MS)
                times_ms[fits] = np.rint(in_ms[fits]).astype(np.int64)
        plausible = (times_ms >= bounds.EARLIEST_MS) & (times_ms <= bounds.LATEST_MS)
        return times_ms if plausible.all() else None
