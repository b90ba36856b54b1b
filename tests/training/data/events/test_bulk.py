"""What is read all at once is what is read row by row; what is unsure is left to the rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from services.training.data.events import tables
from services.training.data.events.bulk import read_bulk
from services.training.data.events.log import EventLog
from shared.inputs.rows import open_table

CHANCE = random.Random(0)
EVENTS = 500
COLUMNS: dict[str, list[Any]] = {
    "visitor": [f"u{CHANCE.randint(1, 40)}" for _ in range(EVENTS)],
    "product_id": [f"ü {CHANCE.randint(1, 60)}" for _ in range(EVENTS)],
    "event": CHANCE.choices(["click", " Like", "purchase", "dislike", "hide", "own"], k=EVENTS),
    "score": [CHANCE.choice([1.0, 2.5, 5.0]) for _ in range(EVENTS)],
    "ts": [1_700_000_000 + CHANCE.randint(0, 10**6) for _ in range(EVENTS)],
}


def bulk(file: Path) -> EventLog | None:
    with open_table(str(file)) as table:
        return read_bulk(file, table, tables.reading_of_events(table))


def row_by_row(file: Path, monkeypatch: pytest.MonkeyPatch) -> EventLog:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "read_bulk", lambda *unsure: None)
        return tables.read_events(file)


def written(frame: polars.DataFrame, folder: Path, ending: str) -> Path:
    file = folder / f"interactions{ending}"
    if ending == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file, separator="\t" if ending == ".tsv" else ",")
    return file


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize(
    "left_out", [(), ("score",), ("ts",), ("event", "score", "ts"), ("event",)]
)
def test_both_ways_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, left_out: Sequence[str]
) -> None:
    file = written(polars.DataFrame(COLUMNS).drop(*left_out), tmp_path, ending)

    at_once, by_rows = bulk(file), row_by_row(file, monkeypatch)

    assert at_once is not None
    assert at_once.user_ids == by_rows.user_ids
    assert at_once.item_ids == by_rows.item_ids
    for name in ("users", "items", "times_ms", "values"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(by_rows, name))


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_times_of_any_unit_are_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    times = [time_s * factor for time_s in COLUMNS["ts"]]
    file = written(polars.DataFrame({**COLUMNS, "ts": times}), tmp_path, ".csv")

    at_once = bulk(file)

    assert at_once is not None
    np.testing.assert_array_equal(at_once.times_ms, row_by_row(file, monkeypatch).times_ms)


def test_typed_times_are_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = polars.DataFrame(COLUMNS).with_columns(polars.from_epoch("ts", "s"))
    file = written(frame, tmp_path, ".parquet")

    at_once = bulk(file)

    assert at_once is not None
    np.testing.assert_array_equal(at_once.times_ms, row_by_row(file, monkeypatch).times_ms)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ts", "20260131"),  # a date
        ("ts", "2026-01-31T18:30:00Z"),
        ("ts", "12"),
        ("ts", ""),
        ("score", "much"),
        ("score", "nan"),
        ("product_id", ""),
        ("visitor", "x" * 1000),
    ],
)
def test_what_is_unsure_is_left_to_the_rows(tmp_path: Path, column: str, value: str) -> None:
    columns = {name: list(map(str, values)) for name, values in COLUMNS.items()}
    columns[column][7] = value
    columns["event"][7] = "click"

    assert bulk(written(polars.DataFrame(columns), tmp_path, ".csv")) is None


def test_a_packed_file_and_one_of_another_encoding_are_left_to_the_rows(tmp_path: Path) -> None:
    latin = tmp_path / "interactions.csv"
    latin.write_bytes("user_id,item_id\nu,\xe9tui\n".encode("latin-1"))
    assert bulk(latin) is None
    jsonl = tmp_path / "interactions.jsonl"
    jsonl.write_text('{"user_id": "u", "item_id": "i"}\n')
    assert bulk(jsonl) is None
