"""Items that events name and the catalogue lacks."""

from __future__ import annotations

import pytest

from services.cli.imports.unknown_items import UnknownItem, unknown_items


@pytest.mark.parametrize(
    ("named", "known"),
    [("42.0", "42"), ("042", "42"), ("42", "42.00"), (" Mug ", "mug"), ("MUG-1", "mug-1")],
)
def test_an_id_that_is_only_written_otherwise_is_told(named: str, known: str) -> None:
    assert unknown_items({named: 3}, [known, "other"]) == [UnknownItem(named, 3, known)]


@pytest.mark.parametrize(("named", "known"), [("42.5", "42"), ("420", "42"), ("lamp", "lamps")])
def test_another_id_is_not_taken_for_it(named: str, known: str) -> None:
    assert unknown_items({named: 3}, [known]) == [UnknownItem(named, 3, "")]


def test_those_with_the_most_events_come_first() -> None:
    found = unknown_items({"a": 1, "b": 5, "known": 9}, {"known"})

    assert [item.item_id for item in found] == ["b", "a"]
