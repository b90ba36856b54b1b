"""Read a file as lines of text, however it is packed and encoded, each within what a record holds.

A bad byte is kept as a mark (`surrogateescape`), so that only the line with it is refused; a row
without an end, as a few packed bytes can make it, is refused before it fills the memory.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Final

from freshet.contract.records import shorten
from freshet.contract.topics import MESSAGE_MAX_BYTES
from shared.inputs.refusals import BadInput

STDIN: Final = "-"
PACKED: Final = (".gz", ".zst")
ROW_CHARACTERS: Final = MESSAGE_MAX_BYTES  # no record is larger
_UTF_8: Final = "utf-8"
_MARKED: Final = re.compile("[\udc80-\udcff]")
_AROUND: Final = 12  # characters shown before and after a bad byte
_BYTE_ORDER_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16
    ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
)


class Lines(Iterator[str]):
    """A file's lines with their ends. A row, which `begin_row` begins, takes one or several."""

    def __init__(self, name: str, text: IO[str], encoding: str) -> None:
        self.name = name
        self.encoding = encoding
        self.number = 0  # of the line that was read last, from 1
        self._text = text
        self._row = name  # where the present row begins
        self._left = ROW_CHARACTERS  # that it may still take

    def begin_row(self) -> str:
        """Begin a row; return its place, file:line."""
        self._left = ROW_CHARACTERS
        self._row = f"{self.name}:{self.number + 1}"
        return self._row

    def __next__(self) -> str:
        """Return the next line. Raises BadInput for a file that cannot be read on."""
        try:
            line = self._text.readline(self._left + 1)
        except UnicodeError as error:
            told = error.reason if isinstance(error, UnicodeDecodeError) else error
            raise BadInput(
                f"{self._row}: must be {self.encoding}, unless --encoding says, was {told}"
            ) from None
        except OSError as error:  # of a packed stream: it names no file
            raise BadInput(f"{self.name}: cannot be unpacked: {error}") from None
        if not line:
            raise StopIteration
        self._left -= len(line)
        if self._left < 0:
            raise BadInput(
                f"{self._row}: a row must have at most {ROW_CHARACTERS} characters; "
                "this one goes on: is a quote left open?"
            )
        self.number += 1
        return line if self.number > 1 else line.removeprefix("\ufeff")

    def check(self, called: str, text: str) -> None:
        """Check that a text of this file holds no byte that is not in its encoding.

        called: what the error names. Raises BadInput.
        """
        if text.isascii() or (bad := _MARKED.search(text)) is None:
            return
        told = f"byte 0x{ord(bad[0]) - 0xDC00:02x}"
        if self.encoding == _UTF_8:
            around = text[max(0, bad.start() - _AROUND) : bad.end() + _AROUND]
            as_cp1252 = around.encode(_UTF_8, "surrogateescape").decode("cp1252", "replace")
            told += f"; cp1252 would read {as_cp1252!r}"
        raise BadInput(f"{called} must be {self.encoding}, unless --encoding says, was {told}")


@contextmanager
def open_lines(name: str, encoding: str | None = None) -> Iterator[Lines]:
    """Open a file, packed where its name ends in .gz or .zst; `-` is standard input.

    encoding: as Python names it; None: by the byte order mark, else UTF-8. Raises OSError for a
    file that cannot be opened, BadInput for one that is in no encoding that can be told.
    """
    with _unpacked(name) as file:
        known = encoding or _told(name, file)
        text = io.TextIOWrapper(file, encoding=known, errors="surrogateescape", newline="")
        yield Lines("stdin" if name == STDIN else name, text, known)
        text.detach()  # closing is left to whoever opened: standard input stays open


def check_encoding(name: str) -> None:
    """Raise BadInput for what is no encoding of text."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)
    except LookupError:
        raise BadInput(
            f"an encoding must be one that Python knows, such as cp1252, was {shorten(name)}"
        ) from None


def _unpacked(name: str) -> AbstractContextManager[IO[bytes]]:
    if name == STDIN:
        stdin: Any = sys.stdin.buffer  # whatever stands in for it may not be buffered
        return nullcontext(stdin if hasattr(stdin, "peek") else io.BufferedReader(stdin))
    file = open(name, "rb")  # noqa: SIM115  # the caller closes it
    if Path(name).suffix.lower() not in PACKED:
        return file
    import pyarrow

    packing = pyarrow.Codec.detect(name.lower()).name
    return io.BufferedReader(pyarrow.CompressedInputStream(file, packing))


def _told(name: str, file: IO[bytes]) -> str:
    """Tell the encoding by a file's first bytes."""
    try:
        head = file.peek(4)  # type: ignore[attr-defined]  # all that come here are BufferedReaders
    except OSError as error:
        raise BadInput(f"{name}: cannot be unpacked: {error}") from None
    for marks, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(marks):
            return encoding
    if b"\0" in head[:2]:
        guess = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        raise BadInput(f"{name}:1: must be utf-8, was byte 0x00; try --encoding {guess}")
    return _UTF_8
