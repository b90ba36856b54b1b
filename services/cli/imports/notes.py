"""Note how far an import got, so that it goes on there after it was cut off."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from aiokafka import TopicPartition

from shared.kafka.records import Offsets

FOLDER: Final = "imports"  # under that of `freshet up`

Placed = list[tuple[str, int, int]]  # topic, partition, offset


class Note(msgspec.Struct, frozen=True):
    """What of a file has arrived: its first `rows`, which `digest` tells from others."""

    rows: int
    digest: bytes
    first: Placed  # offsets of this file's first and last record on each partition
    last: Placed
    dead_letters: Placed  # where that topic ended before
    vectors: Placed = []  # where item-vectors did


class NoteFile:
    """Where the note of one file lies, by what was made of it, in which cluster."""

    def __init__(self, data: Path, cluster_id: str, what: str, file: str) -> None:
        said = f"{cluster_id} {what} {Path(file).resolve()}"
        key = hashlib.blake2b(os.fsencode(said), digest_size=16).hexdigest()
        self._path = data / FOLDER / f"{key}.json"

    def read(self) -> Note | None:
        """Return the note, None where there is none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Note)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, note: Note) -> None:
        """Write the note, all or nothing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(note))
        part.replace(self._path)

    def remove(self) -> None:
        """Forget how far it got: it is done."""
        self._path.unlink(missing_ok=True)


def chained(digest: bytes, content: bytes) -> bytes:
    """Return the digest of all rows so far, from that of those before and one row's content."""
    return hashlib.blake2b(digest + content, digest_size=16).digest()


def placed(offsets: Offsets) -> Placed:
    """Return offsets as a note holds them."""
    return [(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]


def offsets_of(places: Placed) -> Offsets:
    """Return offsets as Kafka's client takes them."""
    return {TopicPartition(topic, partition): offset for topic, partition, offset in places}
