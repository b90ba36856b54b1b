"""Labels and attributes: what is carried by which row, after any changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.items import Attribute
from shared.catalogue import labels as module
from shared.catalogue.columns import FIRST_ROWS
from shared.catalogue.labels import Attributes, LabelSets, bits_of, kind_of

ROWS = 5
LABELS = ("x", "y", "z")
SETS = st.lists(st.sampled_from(LABELS), max_size=4).map(tuple)
VALUES = st.sampled_from(("red", "blue", "", 0.0, -0.0, 1.0, 1e300, True, False))
MAPS = st.dictionaries(st.sampled_from(("colour", "size")), VALUES)


def label_sets(changes: list[tuple[int, tuple[str, ...]]]) -> LabelSets:
    sets = LabelSets()
    sets.reserve(ROWS)
    for row in range(ROWS):
        sets.set(row, ())
    for row, labels in changes:
        sets.set(row, labels)
    return sets


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), SETS)), st.sets(st.sampled_from(LABELS)))
def test_rows_carry_what_they_were_last_given(
    changes: list[tuple[int, tuple[str, ...]]], wanted: set[str]
) -> None:
    sets, model = label_sets(changes), dict.fromkeys(range(ROWS), ()) | dict(changes)
    carrying = [bool(wanted & set(model[row])) for row in range(ROWS)]
    assert sets.carrying(wanted, slice(0, ROWS)).tolist() == carrying
    for entries_a_row in (0, 32):  # by the rows' own labels, by the entries of what is asked for
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ENTRIES_A_ROW", entries_a_row)
            assert sets.carrying(wanted, np.arange(ROWS)).tolist() == carrying
    assert sets.by_row == list(model.values())


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), SETS)))
def test_labels_are_the_same_after_a_copy(changes: list[tuple[int, tuple[str, ...]]]) -> None:
    sets, copied = label_sets(changes), LabelSets()
    copied.restore(*sets.copy(np.arange(ROWS)))
    assert copied.by_row == sets.by_row
    copied.set(0, ("x", "new"))
    for label in (*LABELS, "new"):
        found = copied.any_of([label])[copied.ids[:ROWS]].tolist()
        assert found == [label in labels for labels in copied.by_row]


def test_sets_that_no_row_carries_cost_nothing_for_long() -> None:
    sets = label_sets([(0, (f"only-{n}", "x")) for n in range(5_000)])
    assert len(sets._sets) <= 3
    assert len(sets._postings) == 2
    assert len(sets._postings["x"]._entries) < 50


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), MAPS)), st.sampled_from(("colour", "size")))
def test_attributes_are_found_by_name_kind_and_value(
    changes: list[tuple[int, dict[str, Attribute]]], name: str
) -> None:
    attributes, model = Attributes(), dict[int, dict[str, Attribute]]()
    attributes.reserve(ROWS)
    for row in range(ROWS):
        attributes.set(row, {})
        model[row] = {}
    for row, given_attributes in changes:
        attributes.set(row, given_attributes)
        model[row] = given_attributes
    asked = np.array([3, 0, 3, 1])
    for kind in (str, float, bool):
        rows, bits = attributes.entries().carriers(name, kind)
        wanted = {
            row: bits_of(held[name])
            for row, held in model.items()
            if name in held and kind_of(held[name]) is kind
        }
        assert dict(zip(rows.tolist(), bits.tolist(), strict=True)) == wanted
        assert len(rows) == len(wanted), "none is there twice"
        places, bits = attributes.entries(asked).carriers(name, kind)
        assert list(zip(places.tolist(), bits.tolist(), strict=True)) == [
            (place, wanted[row]) for place, row in enumerate(asked.tolist()) if row in wanted
        ]
    assert [attributes.of(row) for row in range(ROWS)] == list(model.values())


def test_kinds_are_told_apart_and_equal_values_have_equal_bits() -> None:
    assert [kind_of(value) for value in ("1", 1.0, True, 1)] == [str, float, bool, float]
    assert bits_of(-0.0) == bits_of(0.0) == bits_of(0)
    assert bits_of("a") == bits_of("".join(["a"]))
    assert bits_of(1.0) != bits_of(1.0000001)


def test_names_beyond_the_bound_are_kept_but_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_AT_MOST", 1)
    attributes = Attributes()
    attributes.reserve(1)
    attributes.set(0, {"first": 1.0, "second": 2.0})
    assert attributes.entries().carriers("first", float)[0].tolist() == [0]
    assert attributes.entries().carriers("second", float)[0].tolist() == []
    assert attributes.names_refused == 1
    assert attributes.of(0) == {"first": 1.0, "second": 2.0}


def test_changing_an_attribute_for_ever_keeps_memory_bounded() -> None:
    attributes = Attributes()
    attributes.reserve(1)
    for n in range(5_000):
        attributes.set(0, {"views": float(n)})
    assert attributes.entries().carriers("views", float)[1].view(np.float64).tolist() == [4_999.0]
    assert len(attributes._bits.data) <= FIRST_ROWS
