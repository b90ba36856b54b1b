"""Cells have one meaning each, or are refused with what would be right."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from freshet.contract import forms
from freshet.contract.records import BadRecord
from shared.inputs import cells
from shared.inputs.refusals import BadInput

DAY_MS = 1_704_412_800_000  # 2024-01-05


def texts(field: str, value: Any) -> tuple[str, ...]:
    return forms.read_texts(field, cells.split(field, value))


@pytest.mark.parametrize(
    "value",
    ["a|b", '["a","b"]', "a,b", "a;b", " a | b |", '["a", null, "b"]', ["a", "b"], ("a", "b")],
)
def test_lists_are_read_by_one_rule(value: Any) -> None:
    assert texts("tags", value) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("Home, Garden|Tools", ("Home, Garden", "Tools")),
        ("Home, Garden|", ("Home, Garden",)),
        ('["Home, Garden"]', ("Home, Garden",)),
        ("a,b;c", ("a,b", "c")),
        ("one", ("one",)),
        (" | ", ()),
        ([1, 2.0], ("1", "2")),
    ],
)
def test_a_list_is_split_at_the_first_separator_that_it_holds(
    value: Any, entries: tuple[str, ...]
) -> None:
    assert texts("tags", value) == entries


@pytest.mark.parametrize("value", ["['a', 'b']", "[1", {"a": 1}, 5, [["a"]], [True]])
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises((BadInput, BadRecord), match=r"tags must be a (list|text)"):
        texts("tags", value)


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("2024-01-05", None),
        ("20240105", None),
        (20240105, None),
        ("2024-01-05 00:00:00", None),
        ("2024-01-05T02:00:00+02:00", None),
        ("2024-01-05 00:00:00 UTC", None),
        ("2024-01-05T00:00:00.000Z", None),
        (datetime.date(2024, 1, 5), None),
        (datetime.datetime(2024, 1, 5), None),  # noqa: DTZ001  # without a zone it is UTC
        (datetime.datetime(2024, 1, 5, tzinfo=datetime.UTC), None),
        ("1704412800", None),
        (1_704_412_800, "s"),
        ("1.7044128e9", None),
        (1_704_412_800.0, None),
        ("1704412800000", None),
        ("1704412800000", "ms"),
        (1_704_412_800_000_000, None),
        ("1704412800000000000", None),
        ("1704412800000000000", "ns"),
    ],
)
def test_times_in_all_their_forms_are_the_same_time(value: Any, unit: str | None) -> None:
    assert cells.time_ms("time", value, unit) == DAY_MS


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        ("20241399", None, "a date such as 20260131, or a time, was '20241399'"),
        (20241399, None, "a date such as 20260131, or a time, was '20241399'"),
        ("20240105", "s", r"s since 1970, or ISO 8601 such as .*, was 20240105$"),
        ("20240105", "ms", r"ms since 1970, or ISO 8601 such as .*, was 20240105$"),
        ("1704412800", "ms", r"was 1704412800 \(--time-unit s would fit\)"),
        ("5", None, "was 5$"),
        ("-1704412800", None, "was -1704412800"),
        ("05/01/2024", None, "ISO 8601, was '05/01/2024'"),
        ("noon", None, "ISO 8601, was 'noon'"),
        ("10:30", None, "was '10:30'"),
        ("nan", None, "was 'nan'"),
        ("1e999999", None, "was '1e999999'"),
        (True, None, "was true"),
        ([1], None, "was a list"),
    ],
)
def test_what_is_no_time_is_refused(value: Any, unit: str | None, told: str) -> None:
    with pytest.raises((BadInput, BadRecord), match=f"time must be .*{told}"):
        cells.time_ms("time", value, unit)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1994", 1994.0),
        ("-3.5", -3.5),
        ("0", 0.0),
        ("true", True),
        ("FALSE", False),
        ("00123", "00123"),
        ("+49", "+49"),
        ("1e5", "1e5"),
        ("12,50", "12,50"),
        ("1.", "1."),
        ("nan", "nan"),
        ("١٢", "١٢"),
        ("1234567890123456", "1234567890123456"),
        ("yes", "yes"),
        ("", ""),
    ],
)
def test_a_cell_is_a_number_where_that_is_beyond_doubt(text: str, value: Any) -> None:
    read = cells.guessed(text)

    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("value", ["[1]", "{1}", "", 5, ["a"]])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="attributes must be an object such as"):
        cells.mapping("attributes", value)
