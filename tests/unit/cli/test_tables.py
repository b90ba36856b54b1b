"""Tables become items and events; what cannot is refused with its place and what would be right."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from services.cli.inputs import convert
from services.cli.inputs.rows import BadInput, located, read_lines, read_rows


def _items(file: Path) -> list[Item]:
    return [convert.item_of(row.fields(), file.parent) for row in read_rows(str(file))]


def _events(file: Path) -> list[Event]:
    return [convert.event_of(row.fields()) for row in read_rows(str(file))]


def test_csv_columns_become_fields_and_further_ones_attributes(tmp_path: Path) -> None:
    (tmp_path / "lamp.png").write_bytes(b"picture")
    file = tmp_path / "items.csv"
    file.write_text(
        "item_id,title,categories,price,currency,in_stock,available_from_ms,colour,image_file\n"
        'a,"Lamp, small",lamp|light,12.50,EUR,yes,2026-01-01T00:00:00Z,red,lamp.png\n'
        "b,Chair,,,,,,,\n"
    )

    lamp, chair = _items(file)

    assert lamp == Item(
        item_id="a",
        title="Lamp, small",
        categories=("lamp", "light"),
        price=12.5,
        currency="EUR",
        in_stock=True,
        available_from_ms=1_767_225_600_000,
        attributes={"colour": "red"},
        image_bytes=b"picture",
    )
    assert chair == Item(item_id="b", title="Chair")


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    table = pyarrow.table(
        {
            "item_id": [7],
            "title": ["Lamp"],
            "tags": [["warm", "small"]],
            "updated_ms": [moment],
            "weight": [1.5],
        }
    )
    pyarrow.parquet.write_table(table, file)

    assert _items(file) == [
        Item(
            item_id="7",
            title="Lamp",
            tags=("warm", "small"),
            updated_ms=1_767_225_600_000,
            attributes={"weight": 1.5},
        )
    ]


def test_jsonl_events_put_further_fields_into_the_context(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"user_id":"u","item_id":"i","type":"click","time_ms":1767225600000,"segment":"de","page":3}\n\n'
        '{"user_id":"u","item_id":"i","type":"rate","value":4}\n'
    )

    click, rate = _events(file)

    assert click.context == {"segment": "de", "page": "3"}
    assert rate.value == 4.0


def test_csv_events_read_numbers_and_times(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,type,time_ms,value,position\nu,i,rate,2026-01-01,2.5,3\n")

    assert _events(file) == [
        Event(
            user_id="u", item_id="i", type="rate", time_ms=1_767_225_600_000, value=2.5, position=3
        )
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.jsonl", '{"user_id":"u"\n', r"e\.jsonl:1: not JSON"),
        ("e.jsonl", "[1]\n", r"e\.jsonl:1: a line must hold one JSON object, was list"),
        ("e.jsonl", '{"user_id":"u","item_id":"i"}', r":1: type must be given, was absent"),
        ("e.csv", "user_id,item_id,type\nu,i\n", r"e\.csv:2: the row must have as many cells"),
        (
            "e.csv",
            "user_id,item_id,type,time_ms\nu,i,click,noon\n",
            r":2: time_ms must be milliseconds since 1970 or ISO 8601, was 'noon'",
        ),
        (
            "e.csv",
            "user_id,item_id,type,value\nu,i,rate,five\n",
            r":2: value must be a number, was 'five'",
        ),
    ],
)
def test_bad_events_are_refused_with_place_and_remedy(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    (row,) = read_rows(str(file))

    with pytest.raises(BadInput, match=message), located(row.origin):
        convert.event_of(row.fields())


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("a,maybe,", "in_stock must be true or false, was 'maybe'"),
        ("a,,none.png", r"image_file .*none\.png: No such file"),
        (f"{'x' * 200},,", "item_id must be"),
    ],
)
def test_bad_items_are_refused_with_place_and_remedy(
    tmp_path: Path, cells: str, message: str
) -> None:
    file = tmp_path / "items.csv"
    file.write_text(f"item_id,in_stock,image_file\n{cells}\n")
    (row,) = read_rows(str(file))

    with pytest.raises(BadInput, match=rf"items\.csv:2: {message}"), located(row.origin):
        convert.item_of(row.fields(), tmp_path)


def test_nested_columns_are_no_attributes(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="attributes.size must be a text, a number, true or false"):
        convert.item_of({"item_id": "a", "size": {"w": 1}}, tmp_path)


def test_another_ending_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"items\.xls: the name must end in one of \.jsonl"):
        read_rows("items.xls")


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text("a\n\n  b\n")

    assert list(read_lines(str(file))) == [(f"{file}:1", b"a"), (f"{file}:3", b"b")]
