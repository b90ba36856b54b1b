"""Columns are told by their names; what is only near a field is refused with the ways out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from freshet.contract.events import Event
from freshet.contract.items import Item
from shared.inputs.columns import (
    Kind,
    check_complete,
    check_mapped,
    fields_of,
    parse_map,
    read_columns,
)
from shared.inputs.refusals import BadInput


@pytest.mark.parametrize(
    ("kind", "column", "field"),
    [
        (Item, "id", "item_id"),
        (Item, "itemId", "item_id"),
        (Item, "Product ID", "item_id"),
        (Item, "name", "title"),
        (Item, "genres", "categories"),
        (Item, "Category", "categories"),
        (Item, "keywords", "tags"),
        (Item, "In Stock", "in_stock"),
        (Item, "available_until", "available_until_ms"),
        (Item, "colour", "attributes.colour"),
        (Item, "year", "attributes.year"),
        (Item, "attributes.colour", "attributes.colour"),
        (Event, "id", "event_id"),
        (Event, "customer-id", "user_id"),
        (Event, "movieId", "item_id"),
        (Event, "timestamp", "time_ms"),
        (Event, "TS", "time_ms"),
        (Event, "rating", "value"),
        (Event, "event", "type"),
        (Event, "page", "context.page"),
    ],
)
def test_a_column_is_the_field_that_its_name_says(kind: Kind, column: str, field: str) -> None:
    assert read_columns(kind, (column,)) == {column: field}


@pytest.mark.parametrize(("kind", "header"), [(Item, "an item"), (Event, "an event")])
def test_the_page_on_importing_names_what_columns_are_read_as(kind: Kind, header: str) -> None:
    page = (Path(__file__).parents[4] / "docs" / "importing.md").read_text()
    table = page.partition(f"| field of {header} | also called |\n|---|---|\n")[2]
    written: dict[str, set[str]] = {}
    for row in table.partition("\n\n")[0].splitlines():
        fields, others = (re.findall(r"`([a-z_]+)`", cell) for cell in row.split("|")[1:3])
        written |= {field: set(others) - {"_ms"} for field in fields}

    assert set(written) == set(fields_of(kind))
    for field, names in written.items():
        assert [read_columns(kind, (name,)) for name in names] == [{name: field} for name in names]


@pytest.mark.parametrize("kind", [Item, Event])
def test_every_field_is_a_column_of_its_own_name(kind: Kind) -> None:
    fields = fields_of(kind)

    assert read_columns(kind, fields) == dict(zip(fields, fields, strict=True))


@pytest.mark.parametrize(
    ("kind", "column", "near"),
    [
        (Item, "titel", "title"),
        (Item, "curency", "currency"),
        (Item, "book_title", "title"),
        (Item, "SalePrice", "price"),
        (Item, "image", "image_file or image_uri"),
        (Item, "stock", "in_stock"),
        (
            Item,
            "release_date",
            "available_from_ms or available_until_ms or updated_ms or created_ms",
        ),
        (Event, "typ", "type"),
        (Event, "clicked_at", "time_ms"),
        (Event, "viewTime", "time_ms"),
        (Event, "timestmap", "time_ms"),
        (Event, "user_name", "user_id"),
        (Event, "pseudo_id", "user_id or item_id"),
        (Item, "game_id", "item_id"),
        (Item, "product_image", "item_id or image_file or image_uri"),
    ],
)
def test_a_name_near_to_a_field_is_refused(kind: Kind, column: str, near: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_columns(kind, ("colour", column))

    kept = "attributes" if kind is Item else "context"
    told = str(refused.value)
    assert f"column '{column}' is no field, but near to {near}" in told
    assert f"--map {column}={kept}.{column} keeps it, --map {column}= leaves it out" in told
    assert told.endswith(f"(columns found: colour, {column})")


def test_an_item_has_one_picture() -> None:
    columns = ("id", "image_url", "small_image_url")

    assert read_columns(Item, columns)["small_image_url"] == "attributes.small_image_url"


def test_a_near_name_is_further_data_where_the_field_has_a_column() -> None:
    columns = ("user_id", "item_id", "time_ms", "clicked_at", "user_name")

    assert read_columns(Event, columns)["clicked_at"] == "context.clicked_at"
    assert read_columns(Event, columns)["user_name"] == "context.user_name"


def test_the_command_line_says_what_a_column_is() -> None:
    mapped = (("titel", "title"), ("id", ""), ("nr", "item_id"), ("date", "attributes.day"))

    assert read_columns(Item, ("titel", "id", "nr", "date"), mapped) == {
        "titel": "title",
        "nr": "item_id",
        "date": "attributes.day",
    }


def test_all_names_that_are_near_to_a_field_are_told_at_once() -> None:
    with pytest.raises(BadInput, match="near to title; column 'curency' is no field, but near to"):
        read_columns(Item, ("id", "titel", "curency"))


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        # RetailRocket
        (
            "timestamp,visitorid,event,itemid,transactionid",
            "time_ms,user_id,type,item_id,context.transactionid",
        ),
        # REES46
        (
            "event_time,event_type,product_id,category_id,price,user_id,user_session",
            "time_ms,type,item_id,context.category_id,context.price,user_id,session_id",
        ),
        # Google Analytics
        (
            "event_date,event_timestamp,event_name,user,item_id",
            "context.event_date,time_ms,type,user_id,item_id",
        ),
        # Goodbooks
        ("user_id,book_id,rating", "user_id,item_id,value"),
    ],
)
def test_events_of_public_sets_are_read_as_they_are(columns: str, fields: str) -> None:
    assert ",".join(read_columns(Event, tuple(columns.split(","))).values()) == fields


def test_two_columns_are_never_one_field() -> None:
    with pytest.raises(BadInput, match="'id' and 'sku' are both read as item_id: .*--map sku="):
        read_columns(Item, ("id", "sku"))


def test_a_field_of_events_is_none_of_items() -> None:
    with pytest.raises(BadInput, match="--map day=time_ms must name one of item_id, title"):
        read_columns(Item, ("id", "day"), (("day", "time_ms"),))


@pytest.mark.parametrize(
    ("kind", "columns", "told"),
    [
        (Item, ("nr", "title"), r"no column is item_id: .*\(columns found: nr, title\)"),
        (Event, ("usr", "item"), r"no column is user_id: name one, as in --map usr=user_id"),
        (Event, ("user", "item"), r"no column is type: .*or --type click"),
        (Event, ("user", "item", "stars"), r"no column is type: .*or --type rate"),
    ],
)
def test_a_table_without_what_each_row_needs_is_refused(
    kind: Kind, columns: tuple[str, ...], told: str
) -> None:
    fields = {"user": "user_id", "item": "item_id", "stars": "value"}
    with pytest.raises(BadInput, match=told):
        check_complete(
            kind, columns, {name: fields.get(name, f"context.{name}") for name in columns}
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timestamp", "--map must be COLUMN=FIELD, was 'timestamp'"),
        ("=time_ms", "--map must be COLUMN=FIELD"),
        ("ts=time", "--map must name a field, such as time_ms"),
        ("x=nothing.y", "--map must name a field"),
    ],
)
def test_a_map_that_names_no_field_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        parse_map(text)


def test_a_map_of_a_column_that_no_table_has_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--map tmie=time_ms must name a column \(columns found: t"):
        check_mapped((("tmie", "time_ms"),), [("time",)])

    check_mapped((("tmie", "time_ms"),), [("time",), None])  # JSONL names its columns line by line
