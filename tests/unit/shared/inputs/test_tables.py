"""Tables become items, users and events; what cannot is refused with place and what is right."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from freshet.contract.users import User
from services.cli import options
from shared.inputs import convert
from shared.inputs.columns import Kind, parse_map
from shared.inputs.convert import Reading
from shared.inputs.refusals import BadInput, located
from shared.inputs.rows import open_jsonl, open_table

MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MOMENT_MS = 1_767_225_600_000


def read(
    kind: Kind, file: Path, reading: Reading | None = None, encoding: str | None = None
) -> list[Any]:
    made: list[Any] = []
    with open_table(str(file), encoding) as table:
        as_said = (reading or Reading()).of_table(kind, table)
        for row in table.rows:
            with located(row.origin):
                if kind is Item:
                    made.append(convert.item_of(row.read(), file.parent, as_said))
                elif kind is User:
                    made.append(convert.user_of(row.read(), as_said))
                else:
                    made.append(convert.event_of(row.read(), as_said))
    return made


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def write(name: str, content: str | bytes) -> Path:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Any:
    def write(columns: Mapping[str, Any]) -> Path:
        file = tmp_path / "rows.parquet"
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), file)
        return file

    return write


def test_csv_columns_become_fields_and_further_ones_attributes(table: Any) -> None:
    table("lamp.png", b"picture")
    file = table(
        "items.csv",
        "item_id,title,categories,price,currency,in_stock,available_from_ms,colour,image_file\n"
        'a,"Lamp, small",lamp|light,12.50,EUR,yes,2026-01-01T00:00:00Z,red,lamp.png\n'
        "b,Chair,,,,,,,\n",
    )

    lamp, chair = read(Item, file)

    assert lamp == Item(
        item_id="a",
        title="Lamp, small",
        categories=("lamp", "light"),
        price=12.5,
        currency="EUR",
        in_stock=True,
        available_from_ms=MOMENT_MS,
        attributes={"colour": "red"},
        image_bytes=b"picture",
    )
    assert chair == Item(item_id="b", title="Chair")


def test_a_shop_s_own_columns_are_told_by_their_names(table: Any) -> None:
    file = table(
        "products.csv",
        "Product ID,Name,Category,Price,Year,Zip,Sale\n00123,Mug,kitchen,18,1994,01067,true\n",
    )

    assert read(Item, file) == [
        Item(
            item_id="00123",
            title="Mug",
            categories=("kitchen",),
            price=18.0,
            attributes={"Year": 1994.0, "Zip": "01067", "Sale": True},
        )
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", "userId,movieId,rating,timestamp,type\n7,42,4.5,1767225600,rate\n"),
        ("e.csv", "user;item;event;time;score\n7;42;rate;2026-01-01;4.5\n"),
        ("e.tsv", "visitorid\titemid\tevent\ttimestamp\trating\n7\t42\trate\t20260101\t4.5\n"),
        ("e.csv", "\ufeffUser ID,Item ID,Type,Date,Value\r\n7,42,rate,2026-01-01 00:00,4.5\r\n"),
        (
            "e.jsonl",
            '\ufeff{"userId":7,"itemId":42.0,"type":"rate","ts":1767225600000,"rating":"4.5"}',
        ),
    ],
)
def test_events_as_other_systems_write_them_are_the_same_event(
    table: Any, name: str, content: str
) -> None:
    assert read(Event, table(name, content)) == [
        Event(user_id="7", item_id="42", type="rate", time_ms=MOMENT_MS, value=4.5)
    ]


def test_the_command_line_says_what_columns_are(table: Any) -> None:
    file = table("e.csv", "who,what,seen,page_date,junk\nu,i,1767225600,2020,x\n")
    said = ["who=user_id", "what=item_id", "seen=time_ms", "page_date=context.day", "junk="]
    reading = Reading(tuple(map(parse_map, said)), time_unit="s", event_type="click")

    assert read(Event, file, reading) == [
        Event(user_id="u", item_id="i", type="click", time_ms=MOMENT_MS, context={"day": "2020"})
    ]


def test_a_decimal_comma_is_read_where_semicolons_separate(table: Any) -> None:
    (item,) = read(Item, table("items.csv", "id;price;size\na;12,50;38,40\n"))

    assert (item.price, item.attributes) == (12.5, {"size": "38,40"})


@pytest.mark.parametrize("content", ['id,price\na,"12,50"\n', "id;price\na;1,250\n"])
def test_a_comma_that_could_stand_for_thousands_is_refused(table: Any, content: str) -> None:
    with pytest.raises(BadInput, match=r":2: price must be a number, was '1"):
        read(Item, table("items.csv", content))


def test_json_in_a_cell_goes_with_further_columns(table: Any) -> None:
    file = table(
        "items.csv", 'id,attributes,size\na,"{""colour"": ""red"", ""none"": null, ""n"": 3}",38\n'
    )

    (item,) = read(Item, file)

    assert item.attributes == {"colour": "red", "n": 3.0, "size": 38.0}


def test_parquet_keeps_its_types(parquet: Any) -> None:
    file = parquet(
        {
            "item_id": [7.0],
            "title": ["Lamp"],
            "tags": [["warm", None, "small"]],
            "price": [decimal.Decimal("12.50")],
            "updated_ms": [MOMENT],
            "weight": [1.5],
            "made": [MOMENT.date()],
            "attributes": [{"colour": "red", "none": None}],
            "__index_level_0__": [0],
        }
    )

    assert read(Item, file) == [
        Item(
            item_id="7",
            title="Lamp",
            tags=("warm", "small"),
            price=12.5,
            updated_ms=MOMENT_MS,
            attributes={"weight": 1.5, "made": "2026-01-01", "colour": "red"},
        )
    ]


def test_parquet_times_in_nanoseconds_and_maps_are_read(parquet: Any) -> None:
    nanoseconds = pyarrow.timestamp("ns", "Europe/Berlin")
    entries = pyarrow.map_(pyarrow.string(), pyarrow.int64())
    file = parquet(
        {
            "user": ["u"],
            "item": ["i"],
            "type": ["click"],
            "timestamp": pyarrow.array([MOMENT_MS * 1_000_000 + 789], nanoseconds),
            "context": pyarrow.array([[("page", 3), ("none", None)]], entries),
        }
    )

    assert read(Event, file) == [
        Event(user_id="u", item_id="i", type="click", time_ms=MOMENT_MS, context={"page": "3"})
    ]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (
            pyarrow.array([2**60], pyarrow.timestamp("ms")),
            r": a timestamp\[ms\] that can",
        ),
        ([[1]], " must be a whole number, was a list"),
    ],
)
def test_bad_parquet_values_are_refused_with_row_and_column(
    parquet: Any, column: Any, told: str
) -> None:
    with pytest.raises(BadInput, match=f"parquet:row 1: updated_ms{told}"):
        read(Item, parquet({"id": ["a"], "updated_ms": column}))


def test_jsonl_events_put_further_fields_into_the_context(table: Any) -> None:
    file = table(
        "events.jsonl",
        '{"user_id":"u","item_id":"i","type":"click","time_ms":1767225600000,"segment":"de",'
        '"page":3,"new":true,"session_id":null}\n\n'
        '{"user_id":"u","item_id":"i","type":"rate","value":4}\n',
    )

    click, rate = read(Event, file)

    assert click.context == {"segment": "de", "page": "3", "new": "true"}
    assert rate.value == 4.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.jsonl", '{"user_id":"u"\n', r"e\.jsonl:1: not JSON"),
        ("e.jsonl", "[" * 5000, r"e\.jsonl:1: not JSON"),
        ("e.jsonl", "[1]\n", r"e\.jsonl:1: a line must hold one JSON object, was list"),
        ("e.jsonl", '{"user_id":"u","item_id":"i"}', r"e\.jsonl:1: type must be given"),
        ("e.jsonl", '{"user_id":["u"],"type":"c"}', r":1: user_id must be a text, was a list"),
        ("e.jsonl", '{"user_id":"u","typ":"c"}', r":1: column 'typ' is no field, but near to type"),
        (
            "e.csv",
            "user_id,item_id,type\nu,i\n",
            r"e\.csv:2: the row must have as many cells as the header, 3, was 2",
        ),
        ("e.csv", "", r"e\.csv:1: the first line must name the columns"),
        ("e.csv", 'user_id,item_id,type\nu,"i,c\nv,i,c\n', r"e\.csv:2: .* opened and not closed"),
        ("e.csv", 'user_id,item_id,type\nu,"i"x,c\n', r"e\.csv:2: not CSV: ',' expected"),
        (
            "e.csv",
            'user_id,item_id,type,context\nu,i,c,"{a:1}"\n',
            r":2: context must be an object .* in JSON, was '{a:1}'",
        ),
        (
            "e.csv",
            "user_id,item_id,type,seen at\n",
            r"column 'seen at' is no field, but near to time_ms: --map 'seen at=time_ms' says",
        ),
        (
            "e.csv",
            "user_id,item_id,type,position\nu,i,rate,2.5\n",
            r":2: position must be a whole number, was '2\.5'",
        ),
        ("e.parquet", "x", r"e\.parquet: Parquet file size is 1 bytes"),
    ],
)
def test_bad_events_are_refused_with_place_and_remedy(
    table: Any, name: str, content: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read(Event, table(name, content))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("item_id,title,title", "column 3 must have a name of its own, repeats 'title'"),
        ("item_id, title,price", "column 2 must have no blanks around its name, was ' title'"),
        ("item_id,title,", "column 3 must have a name, has none"),
    ],
)
def test_unclear_headers_are_refused(table: Any, header: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"items.csv:1: {message}"):
        read(Item, table("items.csv", f"{header}\na,Mug,3\n"))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("a,maybe,", "in_stock must be true or false, was 'maybe'"),
        ("a,,none.png", r"image_file must be a readable file, was .*none\.png: No such file"),
        (f"{'x' * 200},,", "item_id must be"),
    ],
)
def test_bad_items_are_refused_with_place_and_remedy(table: Any, cells: str, message: str) -> None:
    file = table("items.csv", f"item_id,in_stock,image_file\n{cells}\n")

    with pytest.raises(BadInput, match=rf"items\.csv:2: {message}"):
        read(Item, file)


@pytest.mark.parametrize(
    "named",
    ["/etc/passwd", "../secret.png", "inner/../../secret.png", "link.png", "linked/secret.png"],
)
def test_a_table_reads_no_file_outside_its_folder(table: Any, tmp_path: Path, named: str) -> None:
    (tmp_path / "shop" / "inner").mkdir(parents=True)
    table("secret.png", b"secret")
    (tmp_path / "shop" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "shop" / "linked").symlink_to(tmp_path)
    file = table("shop/items.csv", f"item_id,image_file\na,{named}\n")

    with pytest.raises(BadInput, match=r"items\.csv:2: image_file must be a file below .*/shop \("):
        read(Item, file)


def test_pictures_are_read_from_below_the_folder_links_within_it_and_named_folders_too(
    table: Any, tmp_path: Path
) -> None:
    (tmp_path / "shop" / "inner").mkdir(parents=True)
    table("shop/inner/a.png", b"a")
    (tmp_path / "shop" / "link.png").symlink_to("inner/a.png")
    (tmp_path / "door").symlink_to("shop")
    whole = tmp_path / "shop" / "inner" / "a.png"
    for folder in ("shop", "door"):
        for named in ("inner/a.png", "inner/../link.png", str(whole)):
            item = convert.item_of(
                {"item_id": "a", "image_file": named}, tmp_path / folder, Reading()
            )
            assert item.image_bytes == b"a"


def test_without_a_folder_a_picture_needs_one_to_be_named() -> None:
    with pytest.raises(BadInput, match="image_file must be below a folder that --images names"):
        convert.item_of({"item_id": "a", "image_file": "a.png"}, None, Reading())


@pytest.mark.parametrize("named", ["pipe.png", "."])
def test_what_is_no_file_is_no_picture_and_a_pipe_is_not_waited_for(
    tmp_path: Path, named: str
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadInput, match="image_file must be a file with a picture, was"):
        convert.item_of({"item_id": "a", "image_file": named}, tmp_path, Reading())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"w": 1}, "a text, a number, true or false, was an object"),
        (
            ["a"],
            r"one text, number or flag \(several values go under tags or segments\), was a list",
        ),
        ("x" * 2000, "at most 1024 bytes, was 2000"),
    ],
)
def test_what_is_no_attribute_is_refused_by_its_name(table: Any, value: Any, told: str) -> None:
    file = table("items.jsonl", json.dumps({"item_id": "a", "size": value}))

    with pytest.raises(BadInput, match=f":1: attributes.size must be {told}"):
        read(Item, file)


def test_a_long_cell_is_read_and_then_held_to_its_field_s_bound(table: Any) -> None:
    file = table("items.csv", f"item_id,title\na,{'x' * 140_000}\n")

    with pytest.raises(BadInput, match=r"csv:2: title must be at most 512 bytes, was 140000"):
        read(Item, file)


def test_what_a_column_and_json_both_say_is_refused(table: Any) -> None:
    file = table("items.csv", 'id,attributes,size\na,"{""size"": 1}",2\n')

    with pytest.raises(BadInput, match="'size' must be given once"):
        read(Item, file)


def test_another_ending_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"items\.xls: the name must end in one of \.jsonl"):
        open_table("items.xls")


def test_lines_are_numbered_as_an_editor_does(table: Any) -> None:
    file = table("lines.jsonl", "a\n\n  b\n")

    with open_jsonl(str(file)) as lines:
        assert [(origin, read()) for origin, read in lines] == [
            (f"{file}:1", b"a"),
            (f"{file}:3", b"b"),
        ]


def test_rows_of_several_lines_stand_where_they_begin(table: Any) -> None:
    file = table("items.csv", 'id,title\na,"two\nlines"\nb,"x"y\n')

    with pytest.raises(BadInput, match=r"items\.csv:4: not CSV"):
        read(Item, file)


def test_rows_left_out_are_counted_by_kind(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bad = "".join(f"u,i,click,day {number}\n" for number in range(5))
    file = table("e.csv", f"user,item,type,time\n{bad}u,i,click,2026-01-01\nu,,click,\n")
    with open_table(str(file)) as rows:
        reading = Reading().of_table(Event, rows)
        kept = list(
            options.usable(
                rows.rows, lambda _, fields: convert.event_of(fields, reading), skip_bad=True
            )
        )

    told = capsys.readouterr().err.replace("\n", " ")
    assert [event.time_ms for event in kept] == [MOMENT_MS]
    assert told.count("was 'day ") == 3  # the others are only counted
    assert "left out 6 in all:   5 × time (time_ms) must be milliseconds" in told
    assert "1 × item_id must be" in told


HEADERS = (
    "id,title,price,tags,attributes,updated,in_stock,image_bytes,image_file\n",
    "user,item,event,ts,value,position,context,id\n",
    "",
)
PIECES = (
    *("1", "a", "é", ",", ";", "|", "\n", "\r", "\0", "[", "]", "{", "}", "null", "true"),
    *('"', '""', '{"id":', '"ts":', '"\\ud800"', "20240105", "2024-01-05"),
    *("9" * 30, "-1", "1e999999", "nan"),
)


@given(
    name=st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.jsonl.zst", "t.parquet"]),
    encoding=st.sampled_from([None, "utf-8", "utf-16", "cp1252", "cp932"]),
    header=st.sampled_from(HEADERS),
    rest=st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    written_in=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "latin-1"]),
    tail=st.binary(max_size=8),
    kind=st.sampled_from([Item, Event]),
)
def test_whatever_a_file_holds_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    encoding: str | None,
    header: str,
    rest: str,
    written_in: str,
    tail: bytes,
    kind: Kind,
) -> None:
    file = tmp_path_factory.getbasetemp() / name
    content = (header + rest).encode(written_in) + tail
    packing = {".gz": "gzip", ".zst": "zstd"}.get(file.suffix)
    file.write_bytes(pyarrow.compress(content, packing, asbytes=True) if packing else content)

    with contextlib.suppress(BadInput):
        read(kind, file, encoding=encoding)


def test_a_table_of_users_has_its_further_columns_as_attributes(table: Any) -> None:
    file = table(
        "users.csv",
        "id,country,lang,segments,age,newsletter,plan\nana,JP,ja,vip|new,34,true,pro\n42,,,,,,\n",
    )
    assert read(User, file) == [
        User(
            user_id="ana",
            country="JP",
            language="ja",
            segments=("vip", "new"),
            attributes={"age": 34.0, "newsletter": True, "plan": "pro"},
        ),
        User(user_id="42"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,country\nana,JP\n", "no column is user_id: name one, as in --map "),
        ("user_id,countri\nana,JP\n", "column 'countri' is no field, but near to country"),
        ("user_id,country\nana,Japan\n", ":2: country must be two letters A-Z (ISO 3166), was"),
    ],
)
def test_what_is_no_table_of_users_is_refused(table: Any, content: str, words: str) -> None:
    with pytest.raises((BadInput, BadRecord), match=re.escape(words)):
        read(User, table("users.csv", content))
