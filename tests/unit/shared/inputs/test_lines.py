"""Files are read as text however they are packed and encoded, or refused with place and remedy."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow
import pytest

from shared.inputs import lines
from shared.inputs.lines import check_encoding, open_lines
from shared.inputs.refusals import BadInput
from shared.inputs.rows import open_table

TEXT = "id,title\n1,Amélie\n2,Alien\n"


def _gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # else each worker collects other tests


def _zst(content: bytes) -> bytes:
    packed: bytes = pyarrow.Codec("zstd").compress(content, asbytes=True)
    return packed


def _titles(file: Path, encoding: str | None = None) -> list[str]:
    with open_table(str(file), encoding) as table:
        return [row.read()["title"] for row in table.rows]


@pytest.mark.parametrize(
    ("encoding", "stated"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-32", None),
        ("utf-16-le", "utf-16-le"),
        ("utf-16", "utf-16-le"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
        ("utf-8-sig", "utf-8"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_it_shows_or_is_said_to_have(
    tmp_path: Path, encoding: str, stated: str | None
) -> None:
    file = tmp_path / "items.csv"
    file.write_bytes(TEXT.encode(encoding))

    assert _titles(file, stated) == ["Amélie", "Alien"]


def test_a_byte_of_another_encoding_is_refused_with_line_column_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_bytes(TEXT.encode("latin-1"))

    with open_table(str(file)) as table:
        amelie, alien = table.rows
        with pytest.raises(BadInput) as refused:
            amelie.read()

        assert amelie.origin == f"{file}:2"
        assert str(refused.value) == (
            "title must be utf-8, unless --encoding says, was byte 0xe9; cp1252 would read 'Amélie'"
        )
        assert alien.read()["title"] == "Alien"  # one bad line spoils no other


def test_bad_bytes_in_jsonl_and_in_headers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"title": "\xe9"}')
    (tmp_path / "a.csv").write_bytes(b"gr\xf6\xdfe\n1\n")

    with open_table(str(tmp_path / "a.jsonl")) as table:
        (row,) = table.rows
        with pytest.raises(BadInput, match="a line must be utf-8, .* was byte 0xe9"):
            row.read()
    with (
        pytest.raises(BadInput, match=r"a\.csv:1: a header must be utf-8, .*would read 'größe'"),
        open_table(str(tmp_path / "a.csv")),
    ):
        pass


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_refused_with_its_name(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "items.csv"
    file.write_bytes(TEXT.encode(encoding))

    with pytest.raises(BadInput, match=rf"csv:1: must be utf-8, .* try --encoding {encoding}"):
        _titles(file)


def test_a_half_character_at_the_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_bytes("id,title\n1,a".encode("utf-16")[:-1])

    with pytest.raises(BadInput, match=r"items\.csv:2: must be utf-16, .* was truncated data"):
        _titles(file)


def test_a_file_without_the_mark_of_the_encoding_that_was_said_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text(TEXT)

    with pytest.raises(BadInput, match="must be utf-16, .* does not start with BOM"):
        _titles(file, "utf-16")


@pytest.mark.parametrize("name", ["hex", "utf-9", "rot13"])
def test_what_is_no_encoding_of_text_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"an encoding must be .*, was '{name}'"):
        check_encoding(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.csv.gz", _gz(TEXT.encode())),
        ("items.csv.GZ", _gz(TEXT[:11].encode()) + _gz(TEXT[11:].encode())),
        ("items.csv.zst", _zst(TEXT.encode())),
        ("items.csv.zst", _zst(TEXT.encode("utf-16"))),
        ("items.jsonl.gz", _gz(b'{"title": "Am\xc3\xa9lie"}\n{"title": "Alien"}')),
    ],
)
def test_packed_files_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    assert _titles(file) == ["Amélie", "Alien"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.csv.gz", TEXT.encode()),
        ("items.csv.gz", _gz(TEXT.encode())[:-12]),
        ("items.csv.zst", _zst(TEXT.encode())[:-3]),
        ("items.csv.zst", _gz(TEXT.encode())),
    ],
)
def test_files_that_cannot_be_unpacked_are_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(BadInput, match=f"{name}: cannot be unpacked"):
        _titles(file)


@pytest.mark.parametrize(
    "content",
    [
        b"id,title\n1," + b"x" * 5000,
        b'id,title\n1,"' + b"\n" * 5000,
        b"id,title\n" + b'"\n",' * 5000,
    ],
)
def test_a_row_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(lines, "ROW_CHARACTERS", 1000)
    file = tmp_path / "bomb.csv.gz"
    file.write_bytes(_gz(content))

    with pytest.raises(BadInput, match=r"bomb\.csv\.gz:2: a row must have at most 1000 char"):
        _titles(file)


def test_packed_parquet_is_refused_with_the_remedy() -> None:
    with pytest.raises(BadInput, match=r"items\.parquet\.gz: Parquet is packed already: unpack"):
        open_table("items.parquet.gz")


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"\xef\xbb\xbfone\ntwo")))
    monkeypatch.setattr("sys.stdin", stdin)

    with open_lines("-") as text:
        assert [*text] == ["one\n", "two"]
        assert text.begin_row() == "stdin:3"
    assert not stdin.buffer.closed
