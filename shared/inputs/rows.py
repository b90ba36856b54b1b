"""Read rows from JSONL, CSV and Parquet files: each where it stands (file:line), and its fields.

One malformed line raises BadInput for that line only; the reader goes on with the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from freshet.contract.records import shorten
from shared.inputs.lines import PACKED, ROW_CHARACTERS, STDIN, Lines, open_lines
from shared.inputs.refusals import BadInput

Read = TypeVar("Read")
Fields = dict[str, Any]
DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BATCH_ROWS: Final = 100  # of Parquet in memory at once: a picture may take 4 MiB
_QUOTED: Final = re.compile(r'"[^"]*"')
_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__")
_OPEN_QUOTE: Final = "unexpected end of data"  # what csv says of a quote that nothing closes


class Row(NamedTuple, Generic[Read]):
    """One row, or one line of JSONL as it is. `read` raises BadInput when it cannot be used."""

    origin: str  # file:line, for messages
    read: Callable[[], Read]


@dataclass(frozen=True, slots=True)
class Table:
    """An open file's rows, and what holds for all of them."""

    name: str
    rows: Iterator[Row[Fields]]
    columns: tuple[str, ...] | None = None  # None: each row names its own
    typed: bool = True  # else every value is text
    delimiter: str = ","


def open_table(name: str, encoding: str | None = None) -> AbstractContextManager[Table]:
    """Open a file by its ending: JSONL, CSV (also with `;` or tabs) or Parquet; `-` is JSONL.

    encoding: as `open_lines` takes it. Raises BadInput for another ending or for a header that
    does not name the columns, OSError for a file that cannot be read.
    """
    ending = _ending(name)
    if ending == ".parquet":
        return _parquet(name)
    if ending in (".csv", ".tsv"):
        return _csv(name, encoding)
    return _jsonl(name, encoding)


@contextmanager
def open_jsonl(name: str, encoding: str | None = None) -> Iterator[Iterator[Row[bytes]]]:
    """Open a JSONL file for its lines, empty ones left out; `-` is standard input."""
    with open_lines(name, encoding) as lines:
        yield _full_lines(lines)


def _ending(name: str) -> str:
    if name == STDIN:
        return ".jsonl"
    path = Path(name)
    packed = path.suffix.lower() in PACKED
    ending = Path(path.stem if packed else path.name).suffix.lower()
    if ending == ".parquet" and packed:
        raise BadInput(f"{name}: Parquet is packed already: unpack the file first")
    if ending not in (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"):
        raise BadInput(
            f"{name}: the name must end in one of .jsonl, .ndjson, .csv, .tsv, .parquet "
            "(all but the last also packed: .csv.gz, .csv.zst), or be - for JSONL from stdin"
        )
    return ending


def _full_lines(lines: Lines) -> Iterator[Row[bytes]]:
    while True:
        origin = lines.begin_row()
        line = next(lines, None)
        if line is None:
            return
        if text := line.strip():
            yield Row(origin, partial(_encoded, lines, text))


def _encoded(lines: Lines, text: str) -> bytes:
    lines.check("a line", text)
    return text.encode()


@contextmanager
def _jsonl(name: str, encoding: str | None) -> Iterator[Table]:
    with open_jsonl(name, encoding) as lines:
        yield Table(name, (Row(origin, partial(_object, line)) for origin, line in lines))


def _object(line: Callable[[], bytes]) -> Fields:
    try:
        value = msgspec.json.decode(line())
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"a line must hold one JSON object, was {type(value).__name__}")
    return _present(value)


@contextmanager
def _csv(name: str, encoding: str | None) -> Iterator[Table]:
    csv.field_size_limit(ROW_CHARACTERS)  # of the whole process; a row is held to it anyway
    with open_lines(name, encoding) as lines:
        first = next(lines, "")
        delimiter = _delimiter(first)
        reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            lines.check("a header", delimiter.join(header))
            columns = _named(header)
        except (csv.Error, BadInput) as error:
            raise BadInput(f"{name}:1: {error}") from None
        rows = _csv_rows(lines, reader, columns)
        yield Table(name, rows, columns, typed=False, delimiter=delimiter)


def _delimiter(header: str) -> str:
    """Tell what separates the columns: what stands most often outside of quotes."""
    return max(DELIMITERS, key=_QUOTED.sub("", header).count)


def _csv_rows(
    lines: Lines, reader: Iterator[list[str]], columns: Sequence[str]
) -> Iterator[Row[Fields]]:
    while True:
        origin = lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(origin, partial(_refuse_csv, str(error)))
        else:
            if cells:
                yield Row(origin, partial(_csv_fields, lines, columns, cells))


def _refuse_csv(told: str) -> Fields:
    what = "a quote is opened and not closed" if told == _OPEN_QUOTE else told
    raise BadInput(f"not CSV: {what}; a quote within a quoted cell is written twice")


def _csv_fields(lines: Lines, columns: Sequence[str], cells: list[str]) -> Fields:
    """Drop empty cells. Raises BadInput for a row longer or shorter than the header."""
    if len(cells) != len(columns):
        raise BadInput(
            f"the row must have as many cells as the header, {len(columns)}, was {len(cells)}"
        )
    for column, text in zip(columns, cells, strict=True):
        lines.check(column, text)
    return {column: text for column, text in zip(columns, cells, strict=True) if text}


@contextmanager
def _parquet(name: str) -> Iterator[Table]:
    import pyarrow.parquet

    with Path(name).open("rb") as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            columns = _named(table.schema_arrow.names)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise BadInput(f"{name}: {error}") from None
        kept = tuple(column for column in columns if not _PANDAS_INDEX.fullmatch(column))
        yield Table(name, _parquet_rows(name, table), kept)


def _parquet_rows(name: str, table: Any) -> Iterator[Row[Fields]]:
    import pyarrow

    number = 0
    try:
        for batch in table.iter_batches(batch_size=BATCH_ROWS):
            columns = {
                column: _in_microseconds(values)
                for column, values in zip(batch.schema.names, batch.columns, strict=True)
                if not _PANDAS_INDEX.fullmatch(column)
            }
            for row in range(batch.num_rows):
                number += 1
                yield Row(f"{name}:row {number}", partial(_parquet_fields, columns, row))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be read beyond row {number}: {error}") from None


def _in_microseconds(values: Any) -> Any:
    """Cut nanoseconds off times: Python has none, and times here are milliseconds."""
    import pyarrow

    kind = values.type
    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        return values.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    return values


def _parquet_fields(columns: dict[str, Any], row: int) -> Fields:
    import pyarrow

    fields: Fields = {}
    for column, values in columns.items():
        try:
            fields[column] = values[row].as_py(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError, pyarrow.ArrowException) as error:
            raise BadInput(f"{column}: a {values.type} that cannot be read: {error}") from None
    return _present(fields)


def _present(fields: Fields) -> Fields:
    """Drop nulls: a column that a row does not fill is absent."""
    return {column: value for column, value in fields.items() if value is not None}


def _named(header: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names. Raises BadInput unless each column has one of its own."""
    if not header:
        raise BadInput("the first line must name the columns; the file begins with none")
    for number, column in enumerate(header, start=1):
        if not column.strip():
            raise BadInput(
                f"column {number} must have a name, has none "
                "(pandas writes its index so: to_csv(index=False) leaves it out)"
            )
        if column != column.strip():
            raise BadInput(
                f"column {number} must have no blanks around its name, was {shorten(column)}"
            )
        if column in header[: number - 1]:
            raise BadInput(f"column {number} must have a name of its own, repeats {column!r}")
    return tuple(header)
