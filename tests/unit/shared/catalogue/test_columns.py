"""Growable columns, the key table and word codes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.columns import Codes, Column, KeyRows

# Keys that share their low bits meet in one slot of a small table and walk on.
KEYS = st.integers(0, 40).map(lambda number: (number % 5) * 2**32 + (number // 5) * 8)
STEPS = st.lists(st.tuples(KEYS, st.integers(-1, 100)), max_size=60)


@given(STEPS)
def test_key_table_answers_as_a_dict_does(steps: list[tuple[int, int]]) -> None:
    table, model = KeyRows(slots=8), dict[int, int]()
    for key, row in steps:
        table.put(key, row)
        model[key] = row
    asked = [*model, 2**64 - 1, 12345]
    wanted = [model.get(key, -1) for key in asked]
    assert table.rows(np.array(asked, np.uint64)).tolist() == wanted
    assert [table.row(key) for key in asked] == wanted
    assert len(table) == sum(row >= 0 for row in model.values())


@given(st.dictionaries(KEYS, st.integers(0, 100)), STEPS)
def test_keys_put_all_at_once_are_found_like_those_put_one_by_one(
    many: dict[int, int], steps: list[tuple[int, int]]
) -> None:
    table = KeyRows(slots=8)
    table.put_many(np.array([*many], np.uint64), np.array([*many.values()], np.int64))
    for key, row in steps:
        table.put(key, row)
    model = many | dict(steps)
    asked = np.array([*model], np.uint64)
    assert table.rows(asked).tolist() == list(model.values())


def test_key_table_grows_far_beyond_its_first_slots() -> None:
    keys = np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64)
    table = KeyRows()
    for row, key in enumerate(keys.tolist()):
        table.put(key, row)
    assert np.array_equal(table.rows(keys), np.arange(20_000))
    assert table.rows(keys + np.uint64(1)).max() == -1


def test_dropped_keys_do_not_fill_the_table_for_ever() -> None:
    table = KeyRows(slots=8)
    for key in range(50_000):
        table.put(key, 1)
        table.put(key, -1)
    assert len(table) == 0
    assert len(table._table[0]) <= 8192


def test_column_keeps_its_values_and_fills_the_rest_as_it_grows() -> None:
    column = Column(np.float64, fill=np.nan)
    column.reserve(1)
    column.data[0] = 7
    held = column.data
    column.reserve(len(held) + 1)
    assert column.data[0] == 7
    assert np.isnan(column.data[1:]).all()
    assert len(column.data) == 2 * len(held)
    assert held[0] == 7, "who holds the older array still reads it"


def test_codes_give_each_word_one_number_and_know_which_came() -> None:
    codes = Codes()
    assert [codes.code("EUR"), codes.code("USD"), codes.code("EUR"), codes.code("")] == [1, 2, 1, 0]
    assert codes.known("JPY") is None
    assert codes.word(2) == "USD"
