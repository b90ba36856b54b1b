"""Read rows from JSONL, CSV and Parquet files: each where it stands (file:line), and its fields.

One malformed line raises BadInput for that line only; the reader goes on with the next.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from freshet.contract.records import BadRecord

Fields = dict[str, Any]
STDIN: Final = "-"


class BadInput(ValueError):
    """An input that cannot be used; the text says where, what is wrong, what would be right."""


class Row(NamedTuple):
    """One row. `fields` raises BadInput when the line is no row at all."""

    origin: str  # file:line, for messages
    fields: Callable[[], Fields]


@contextmanager
def located(origin: str) -> Iterator[None]:
    """Say where, when the body refuses a value."""
    try:
        yield
    except (BadRecord, BadInput) as error:
        raise BadInput(f"{origin}: {error}") from None


def read_rows(name: str) -> Iterator[Row]:
    """Read a file by its ending: .jsonl or .ndjson, .csv, .parquet; `-` is JSONL from stdin.

    Raises BadInput for another ending and OSError for a file that cannot be read.
    """
    if name == STDIN:
        return _jsonl("stdin", sys.stdin.buffer)
    ending = Path(name).suffix.lower()
    if ending not in _READERS:
        known = ", ".join(_READERS)
        raise BadInput(f"{name}: the name must end in one of {known}, or be - for JSONL from stdin")
    return _READERS[ending](name)


def read_lines(name: str) -> Iterator[tuple[str, bytes]]:
    """Read origins and bytes of a JSONL file's lines, empty ones left out; `-` is stdin."""
    if name == STDIN:
        yield from _lines("stdin", sys.stdin.buffer)
        return
    with Path(name).open("rb") as file:
        yield from _lines(name, file)


def _lines(name: str, file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(file, start=1):
        if text := line.strip():
            yield f"{name}:{number}", text


def _jsonl(name: str, file: IO[bytes]) -> Iterator[Row]:
    for origin, line in _lines(name, file):
        yield Row(origin, partial(_object, line))


def _object(line: bytes) -> Fields:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise BadInput(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"a line must hold one JSON object, was {type(value).__name__}")
    return value


def _jsonl_file(name: str) -> Iterator[Row]:
    with Path(name).open("rb") as file:
        yield from _jsonl(name, file)


def _csv_file(name: str) -> Iterator[Row]:
    with Path(name).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for fields in reader:
            origin = f"{name}:{reader.line_num}"
            yield Row(origin, partial(_csv_fields, fields))


def _csv_fields(fields: dict[Any, Any]) -> Fields:
    """Drop empty cells. Raises BadInput for a row longer or shorter than the header."""
    if None in fields or None in fields.values():
        raise BadInput("the row must have as many cells as the header")
    return {name: text for name, text in fields.items() if text != ""}


def _parquet_file(name: str) -> Iterator[Row]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(name) as file:
        number = 0
        for batch in file.iter_batches(batch_size=1000):
            for fields in batch.to_pylist():
                number += 1
                present = {key: value for key, value in fields.items() if value is not None}
                yield Row(f"{name}:row {number}", partial(dict, present))


_READERS: Final[dict[str, Callable[[str], Iterator[Row]]]] = {
    ".jsonl": _jsonl_file,
    ".ndjson": _jsonl_file,
    ".csv": _csv_file,
    ".parquet": _parquet_file,
}
