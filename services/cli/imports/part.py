"""Publish one file's rows, from where an earlier run was cut off, and keep where they stand."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from aiokafka import TopicPartition

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.users import User
from freshet.errors import InvalidRequest
from freshet.publisher import batching_producer, encoded
from freshet.send_window import SendWindow
from services.cli.imports.notes import Note, NoteFile, chained, offsets_of, placed
from shared.inputs.refusals import BadInput
from shared.kafka.records import Offsets

if TYPE_CHECKING:
    from aiokafka.structs import RecordMetadata

    from freshet.kafka_clients import KafkaSettings

NOTE_EVERY: Final = 1_000  # rows


class SourcedRecord(NamedTuple):
    """One row of a file."""

    record: Item | User | Event
    source: str  # `file:line`, for messages
    content: bytes  # what the row says, the same whenever it is read


class Feed(NamedTuple):
    """A file's rows."""

    what: str  # items, users or events
    name: str  # which file it is
    rows: Callable[[], Iterable[SourcedRecord]]  # from the beginning
    total: int | None = None


class Part:
    """One file of an import: `publish` it once."""

    def __init__(
        self, feed: Feed, note: NoteFile | None, dead_letters: Offsets, vectors: Offsets
    ) -> None:
        """note: None for a file that can be read only once.

        dead_letters, vectors: where they and `item-vectors` end now.
        """
        self.feed = feed
        self.arrived = 0  # rows that are in Kafka, this run's and earlier ones'
        self.first: Offsets = {}  # of this file's records on each partition
        self.last: Offsets = {}
        self.by_item: Counter[str] = Counter()  # rows by the item that they name
        self.has_pictures = False  # whether any item has one
        self.dead_letters = dead_letters
        self.vectors = vectors
        self._note = note
        self._rows = iter(feed.rows())
        self._digest = b""  # of the rows that have arrived
        self._digests: deque[bytes] = deque()  # of those and each row that is on its way

    @property
    def goes_on(self) -> bool:
        """Whether another run goes on behind what has arrived."""
        return self._note is not None

    def resume(self) -> int:
        """Leave out the rows that an earlier run's note says have arrived; returns how many.

        None, where the file's first rows are others by now. Raises BadInput.
        """
        note = self._note.read() if self._note is not None else None
        if note is None:
            return 0
        digest = b""
        for row in islice(self._rows, note.rows):
            digest = chained(digest, row.content)
            self._count(row)
        if digest != note.digest:
            self.by_item.clear()
            self._rows = iter(self.feed.rows())
            return 0
        self.arrived, self._digest = note.rows, digest
        self.first, self.last = offsets_of(note.first), offsets_of(note.last)
        self.dead_letters, self.vectors = offsets_of(note.dead_letters), offsets_of(note.vectors)
        return self.arrived

    async def publish(self, settings: KafkaSettings, progress: Callable[[int], None]) -> None:
        """Publish the rows that have not arrived yet; `progress` hears how many have.

        Whatever ends it, what is on its way is waited for and noted. Raises BadInput, KafkaError.
        """

        def acknowledged(written: RecordMetadata) -> None:
            self._acknowledged(written)
            if self.arrived % NOTE_EVERY == 0:
                self._write_note()
                progress(self.arrived)

        async with batching_producer(settings) as producer:
            window = SendWindow(producer, acknowledged)
            try:
                for row in self._rows:
                    await window.send(*_encoded(row), source=row.source)
                    self._handed_over(row)
                await window.flush()
            finally:
                await window.flush()
                self._write_note()

    def finish(self) -> None:
        """Forget how far it got: everything is in effect."""
        if self._note is not None:
            self._note.remove()

    def _handed_over(self, row: SourcedRecord) -> None:
        before = self._digests[-1] if self._digests else self._digest
        self._digests.append(chained(before, row.content))
        self._count(row)

    def _acknowledged(self, written: RecordMetadata) -> None:
        """Take in where the oldest row on its way stands."""
        self.arrived += 1
        self._digest = self._digests.popleft()
        tp = TopicPartition(written.topic, written.partition)
        self.first.setdefault(tp, written.offset)
        self.last[tp] = written.offset

    def _count(self, row: SourcedRecord) -> None:
        record = row.record
        if isinstance(record, User):
            return
        if record.item_id:
            self.by_item[record.item_id] += 1
        if isinstance(record, Item):
            self.has_pictures |= record.image_uri is not None or bool(record.image_bytes)

    def _write_note(self) -> None:
        if self._note is not None and self.arrived:
            first, last = placed(self.first), placed(self.last)
            letters, vectors = placed(self.dead_letters), placed(self.vectors)
            self._note.write(Note(self.arrived, self._digest, first, last, letters, vectors))


def _encoded(row: SourcedRecord) -> tuple[str, str, bytes]:
    """Return topic, key and value. An event without an id gets one by its row.

    So what is sent again by a run that goes on, because its arrival was not heard of, counts once.
    """
    record = row.record
    if isinstance(record, Event) and record.event_id is None:
        said = row.source.encode("utf-8", "replace") + b"\n" + row.content
        event_id = hashlib.blake2b(said, digest_size=12).hexdigest()
        record = msgspec.structs.replace(record, event_id=event_id)
    try:
        return encoded(record, backfill=True)
    except InvalidRequest as error:
        raise BadInput(f"{row.source}: {error}") from None
