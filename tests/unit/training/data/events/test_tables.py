"""Tables of one's own are read as the import reads them, row by row or all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.training.data.dataset import Dataset
from services.training.data.events import tables
from services.training.data.events.tables import TableForm
from services.training.data.read import read
from shared.inputs.columns import parse_map
from shared.inputs.convert import Reading
from shared.inputs.refusals import BadInput

CSV = """\
customer,sku,event,ts
ann,shoe,click,1700000300
bob,hat,purchase,1700000100
ann,hat,view,1700000100
ann,sock,dislike,1700000200
bob,shoe,click,1700000100
"""


def chosen(data: Dataset) -> dict[str, list[str]]:
    """Return what each user chose, oldest first."""
    return {
        user: [data.item_ids[item] for item in data.events.of(row)]
        for row, user in enumerate(data.user_ids)
    }


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


def write_jsonl(folder: Path, text: str) -> Path:
    header, *rows = [line.split(",") for line in text.splitlines()]
    lines = [json.dumps(dict(zip(header, row, strict=True))) for row in rows]
    return write(folder, "interactions.jsonl", "\n".join(lines) + "\n")


def write_parquet(folder: Path, text: str) -> Path:
    import io

    from pyarrow import csv, parquet

    table = csv.read_csv(io.BytesIO(text.encode()))
    parquet.write_table(table, folder / "interactions.parquet")
    return folder


def write_csv(folder: Path, text: str) -> Path:
    return write(folder, "interactions.csv", text)


def write_tsv(folder: Path, text: str) -> Path:
    return write(folder, "interactions.tsv", text.replace(",", "\t"))


WRITERS: list[Callable[[Path, str], Path]] = [write_csv, write_tsv, write_jsonl, write_parquet]


@pytest.mark.parametrize("write", WRITERS)
def test_interactions_are_what_was_chosen_oldest_first(
    tmp_path: Path, write: Callable[[Path, str], Path]
) -> None:
    data = read(write(tmp_path, CSV))

    assert data.name == tmp_path.name
    assert chosen(data) == {"ann": ["hat", "shoe"], "bob": ["hat", "shoe"]}
    assert data.events.times_s is not None
    assert data.events.times_s.tolist() == [1700000100, 1700000300, 1700000100, 1700000100]


@pytest.mark.parametrize("write", WRITERS)
def test_values_are_ratings(tmp_path: Path, write: Callable[[Path, str], Path]) -> None:
    data = read(write(tmp_path, "user_id,item_id,rating\nu,b,4.5\nu,a,1\nv,a,3\n"))

    assert chosen(data) == {"u": ["b", "a"], "v": ["a"]}
    assert data.events.values is not None
    assert data.events.values.tolist() == [4.5, 1, 3]
    assert data.events.times_s is None


def test_times_and_values_that_some_events_lack_are_none(tmp_path: Path) -> None:
    text = "user_id,item_id,rating,time_ms\nu,b,4,1700000000000\nu,a,,\n"
    data = read(write_csv(tmp_path, text))

    assert chosen(data) == {"u": ["b", "a"]}
    assert data.events.values is None
    assert data.events.times_s is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "interactions.csv:1: the first line must name the columns"),
        ("user_id,item_id\n", "interactions.csv: must hold events, has none"),
        ("user_id,thing\nu,a\n", "interactions.csv: no column is item_id"),
        ("user_id,item_id\nu,a\nu,\n", "interactions.csv:3: item_id must be"),
        ("user_id,item_id,time_ms\nu,a,1700000000000\nu,b,never\n", "interactions.csv:3: time_ms"),
        ("user_id,item_id,rating\nu,a,1\nu,b,much\n", "interactions.csv:3: rating"),
        ("user_id,item_id\nu,a\nu,b,c\n", "interactions.csv:3: the row must have as many cells"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(write_csv(tmp_path, text))

    assert told in str(refused.value)


def test_items_bring_texts_and_the_pictures_that_they_name(tmp_path: Path) -> None:
    write_csv(tmp_path, CSV)
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "hat.png"):
        (tmp_path / "images" / name).write_bytes(b"picture")
    items = "sku,title,genre,image_file\nshoe,Shoe,a|b,images/a.jpg\nhat,Hat,,\nrare,Rare,,\n"
    data = read(write(tmp_path, "items.csv", items))

    assert data.items.keys() == {"shoe", "hat"}  # what nobody chose is nothing to learn of
    assert data.items["shoe"].categories == ("a", "b")
    assert data.items["shoe"].image_bytes is None
    assert data.pictures == {
        "shoe": (tmp_path / "images" / "a.jpg").resolve(),
        "hat": tmp_path / "images" / "hat.png",
    }


def test_users_bring_what_is_known_of_them(tmp_path: Path) -> None:
    write_csv(tmp_path, CSV)
    data = read(write(tmp_path, "users.csv", "customer,country,age\nann,DE,31\nzoe,FR,20\n"))

    assert data.attributes.keys() == {"ann"}  # who chose nothing is nobody to learn of
    assert data.attributes["ann"] == {"country": "DE", "age": 31}


def test_a_picture_that_is_not_there_is_refused_with_its_place(tmp_path: Path) -> None:
    write_csv(tmp_path, CSV)
    write(tmp_path, "items.csv", "item_id,image_file\nshoe,images/none.jpg\n")

    with pytest.raises(BadInput, match=r"items.csv:2: image_file must be a readable file"):
        read(tmp_path)


def test_a_folder_without_any_known_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"must hold interactions\.csv.*, or MovieLens: ml-1m\.txt"):
        read(tmp_path)
    with pytest.raises(BadInput, match="must hold interactions.csv, .tsv, .jsonl or .parquet"):
        tables.read(tmp_path)


def form(*mapped: str, time_unit: str | None = None, encoding: str | None = None) -> TableForm:
    return TableForm(Reading(tuple(map(parse_map, mapped)), time_unit), encoding)


@pytest.mark.parametrize("write_as", [write_csv, write_jsonl, write_parquet])
def test_a_column_is_what_it_is_said_to_be(
    tmp_path: Path, write_as: Callable[[Path, str], Path]
) -> None:
    folder = write_as(tmp_path, CSV.replace("sku", "thing").replace("customer", "person"))
    with pytest.raises(BadInput, match=r"(item_id|user_id)"):
        read(folder)

    data = read(folder, form=form("thing=item_id", "person=user_id"))

    assert chosen(data) == {"ann": ["hat", "shoe"], "bob": ["hat", "shoe"]}


def test_items_and_users_are_read_so_too(tmp_path: Path) -> None:
    write_csv(tmp_path, CSV.replace("sku", "thing"))
    write(tmp_path, "items.csv", "thing,called\nhat,Hat\n")
    write(tmp_path, "users.csv", "customer,land\nann,PL\n")

    data = read(tmp_path, form=form("thing=item_id", "called=title", "land=country"))

    assert data.items["hat"].title == "Hat"
    assert data.attributes["ann"]["country"] == "PL"


def test_a_column_that_no_table_has_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path, CSV)
    write(tmp_path, "items.csv", "sku,name\nhat,Hat\n")

    with pytest.raises(BadInput, match=r"--map think=item_id must name a column .*sku.*name"):
        read(tmp_path, form=form("think=item_id"))


def test_text_of_another_encoding_and_times_of_another_unit_are_read(tmp_path: Path) -> None:
    text = "customer,sku,when\nann,m\u00fcsli,1700000000000000\n"
    (tmp_path / "interactions.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(BadInput, match="must be utf-8, unless --encoding says"):
        read(tmp_path, form=form("when=time_ms"))

    data = read(tmp_path, form=form("when=time_ms", time_unit="us", encoding="cp1252"))

    assert chosen(data) == {"ann": ["m\u00fcsli"]}
    assert data.events.times_s is not None
    assert data.events.times_s.tolist() == [1_700_000_000]


def test_only_tables_are_read_otherwise_than_they_say(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t1\t5\t874724710\n")
    with pytest.raises(BadInput, match=r"has no interactions\.\* that could be read otherwise"):
        read(tmp_path, form=form("a=item_id"))
