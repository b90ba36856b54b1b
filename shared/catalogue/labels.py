"""Tell which items carry a label or an attribute, as items come, so that a filter is a mask.

Everything here is exact after any order of changes. Legend: n rows; s sets; e entries; m rows that
are asked about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from shared.catalogue.columns import Column

# From so many entries of labels for each row that is asked about, the row's own labels are read.
ENTRIES_A_ROW: Final = 32
_EPOCH: Final = 1 << 32  # entry = epoch · 2³² + number
_NUMBER: Final = np.int64(_EPOCH - 1)
_NOBODY: Final = np.empty(0, np.int64)


class Stamps:
    """The epoch of each number (a set): entries made in an earlier epoch count no more."""

    def __init__(self) -> None:
        self._column = Column(np.int64, fill=-1)

    def entry(self, number: int) -> int:
        """Return the entry that stands for a number in its present epoch."""
        stamp = int(self._column.data[number])
        if stamp < 0:
            stamp = number
            self._column.data[number] = stamp
        return stamp

    def reserve(self, numbers: int) -> None:
        """Make room for so many numbers."""
        self._column.reserve(numbers)

    def renew(self, number: int) -> None:
        """Begin a number's next epoch, which ends every entry made for it."""
        self._column.data[number] = self.entry(number) + _EPOCH

    def valid(self, entries: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which entries belong to their number's present epoch."""
        is_valid: NDArray[np.bool_] = self._column.data.take(entries & _NUMBER) == entries
        return is_valid

    def numbers(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the entries that belong to their present epoch."""
        return entries[self.valid(entries)] & _NUMBER


class Postings:
    """The numbers that carry one thing; appended only.

    Ended entries are dropped when the array is full, so an append costs the same however often
    items change.
    """

    __slots__ = ("_entries", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._entries = np.empty(4, np.int64)

    def __len__(self) -> int:
        """Count the entries, ended ones too."""
        return self._size

    def add(self, stamps: Stamps, number: int) -> None:
        """Append a number in its present epoch."""
        if self._size == len(self._entries):
            self._make_room(stamps)
        self._entries[self._size] = stamps.entry(number)
        self._size += 1

    @property
    def entries(self) -> NDArray[np.int64]:
        """Return the entries, ended ones too; they stay as they are while numbers are added."""
        return self._entries[: self._size]

    def _make_room(self, stamps: Stamps) -> None:
        kept = self._entries[stamps.valid(self._entries)]
        self._size = len(kept)
        self._entries = np.empty(2 * len(kept) + 4, np.int64)
        self._entries[: len(kept)] = kept


class LabelSets:
    """The labels of each row (its categories, or its tags). Rows with equal labels share one set.

    A filter looks at sets, of which there are far fewer than rows where labels repeat, and one
    gather brings the answer to rows.
    """

    def __init__(self) -> None:
        self.ids: NDArray[np.int32]  # (n,) set of each row; 0: no labels
        self.by_row: list[tuple[str, ...]] = []  # (n,)
        self._ids = Column(np.int32)
        self.ids = self._ids.data
        self._sets: list[tuple[str, ...]] = [()]
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._rows_of = Column(np.int32)  # (s,) rows that carry each set
        self._rows_of.reserve(1)
        self._rows_of.data[0] = 1  # the empty set never goes
        self._free: list[int] = []
        self._stamps = Stamps()
        self._postings: dict[str, Postings] = {}
        self._sets_of: dict[str, int] = {}  # how many sets carry each label

    def reserve(self, rows: int) -> None:
        """Make room for so many rows."""
        self._ids.reserve(rows)
        self.ids = self._ids.data

    def set(self, row: int, labels: tuple[str, ...]) -> None:
        """Let a row carry these labels and no others; rows come one after another."""
        if row == len(self.by_row):
            self.by_row.append(())
        if labels == self.by_row[row]:
            return
        number = self._number_of(labels)
        before = int(self.ids[row])
        self._rows_of.data[number] += 1
        self.ids[row] = number
        self.by_row[row] = self._sets[number]  # one tuple for all rows of the set
        if before:
            self._rows_of.data[before] -= 1
            if not self._rows_of.data[before]:
                self._drop(before)

    def copy(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
        """Return some rows' labels: indexes into a list of sets, and that list."""
        numbers, ids = np.unique(self.ids[rows], return_inverse=True)
        return ids.astype(np.int32), [self._sets[number] for number in numbers.tolist()]

    def restore(self, ids: NDArray[np.int32], sets: Sequence[tuple[str, ...]]) -> None:
        """Take the labels of rows 0, 1, …: ids[row] is an index into `sets`; only while empty."""
        numbers = np.array([self._number_of(labels) for labels in sets], np.int32)
        taken = numbers[ids]
        self.reserve(len(ids))
        self.ids[: len(ids)] = taken
        self.by_row.extend(self._sets[number] for number in taken.tolist())
        self._rows_of.data[: len(self._sets)] += np.bincount(taken, minlength=len(self._sets))

    def any_of(self, labels: Iterable[str]) -> NDArray[np.bool_]:
        """Return which sets carry at least one of the labels, (s,); by row it is `[ids]`."""
        carrying = np.zeros(len(self._sets), np.bool_)
        for label in labels:
            postings = self._postings.get(label)
            if postings is not None:
                carrying[self._stamps.numbers(postings.entries)] = True
        return carrying

    def carrying(
        self, labels: Collection[str], rows: NDArray[np.int64] | slice
    ) -> NDArray[np.bool_]:
        """Return which of some rows carry at least one of the labels, (m,)."""
        wanted = frozenset(labels)
        found = sum(len(self._postings[label]) for label in wanted if label in self._postings)
        if isinstance(rows, slice) or found <= ENTRIES_A_ROW * len(rows):
            by_row: NDArray[np.bool_] = self.any_of(wanted).take(self.ids[rows])
            return by_row
        sets = map(self.by_row.__getitem__, rows.tolist())
        return np.fromiter((not wanted.isdisjoint(each) for each in sets), np.bool_, len(rows))

    def look_up(self, labels: Iterable[str], rows: int) -> LabelLookUp:
        """Return who carries each of some labels now, of the first `rows` rows."""
        postings = [self._postings.get(label) for label in labels]
        return LabelLookUp(
            [_NOBODY if found is None else found.entries for found in postings],
            self.ids[:rows],
            len(self._sets),
            self._stamps,
            self._rows_of,
        )

    def _number_of(self, labels: tuple[str, ...]) -> int:
        number = self._numbers.get(labels)
        return self._add(labels) if number is None else number

    def _add(self, labels: tuple[str, ...]) -> int:
        if self._free:
            number = self._free.pop()
            self._sets[number] = labels
        else:
            number = len(self._sets)
            self._sets.append(labels)
            self._rows_of.reserve(number + 1)
            self._stamps.reserve(number + 1)
        self._numbers[labels] = number
        for label in dict.fromkeys(labels):
            self._postings.setdefault(label, Postings()).add(self._stamps, number)
            self._sets_of[label] = self._sets_of.get(label, 0) + 1
        return number

    def _drop(self, number: int) -> None:
        labels = self._sets[number]
        self._stamps.renew(number)
        self._free.append(number)
        self._sets[number] = ()
        del self._numbers[labels]
        for label in dict.fromkeys(labels):
            self._sets_of[label] -= 1
            if not self._sets_of[label]:
                del self._sets_of[label], self._postings[label]


@dataclass(frozen=True, slots=True)
class LabelLookUp:
    """Who carries each of some labels, found when it is asked for, also in a thread beside changes.

    Rows that change meanwhile may be taken for what they were, or for ones that carry none.
    """

    entries: list[NDArray[np.int64]]  # by label
    ids: NDArray[np.int32]  # (n,)
    sets: int
    stamps: Stamps
    rows_of: Column

    @property
    def work(self) -> int:
        """Return how many rows and entries are looked at."""
        return len(self.ids) + sum(map(len, self.entries))

    def carriers(self) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield for each label the sets that carry it, and how many rows carry those."""
        for entries in self.entries:
            sets = self.stamps.numbers(entries)
            yield sets, int(self.rows_of.data.take(sets).sum())

    def by_row(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return by row, (n,), what is given by set, (s,); 0 for sets that came later."""
        found: NDArray[np.float32] = np.append(values, np.float32(0)).take(self.ids, mode="clip")
        return found


NAMES_AT_MOST: Final = 4_096
"""Attribute names that can be filtered by; the columns of a name cost memory whoever uses it."""

_PACK: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_UNPACK: Final = msgspec.msgpack.Decoder(dict[str, Attribute]).decode
_NONE: Final = _PACK({})
_ENDED: Final = -1  # instead of the code of an entry
_UNHEARD_OF: Final = -2  # the code of what no row ever had


class Attributes:
    """The attributes of each row, packed, and as entries that filters look through.

    A text's value is its hash in this process (64 bits): two texts of one name count as equal with
    a probability of 2⁻⁶⁴. Entries are appended, a row's in one piece; those that ended are dropped
    when the columns are full, so a change costs the same however often items change.
    """

    def __init__(self) -> None:
        self.packed: list[bytes] = []  # (n,)
        self.names_refused = 0  # attributes that no filter finds, because there are too many names
        self._names: set[str] = set()
        self._codes: dict[tuple[str, type], int] = {}
        self._starts, self._counts = Column(np.int64), Column(np.int32)  # (n,) a row's entries
        self._used = 0  # entries, ended ones too
        self._rows, self._coded = Column(np.int32), Column(np.int16)  # (e,)
        self._bits = Column(np.int64)  # (e,)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows."""
        self._starts.reserve(rows)
        self._counts.reserve(rows)

    def set(self, row: int, attributes: dict[str, Attribute]) -> None:
        """Let a row have these attributes and no others; rows come one after another."""
        if row == len(self.packed):
            self.packed.append(_NONE)
        packed = _PACK(attributes) if attributes else _NONE
        if packed == self.packed[row]:
            return
        start = self._starts.data[row]
        self._coded.data[start : start + self._counts.data[row]] = _ENDED
        self.packed[row] = packed
        self._post(row, attributes)

    def restore(self, packed: list[bytes]) -> None:
        """Take the attributes of rows 0, 1, …, packed; only while empty."""
        self.reserve(len(packed))
        self.packed = list(packed)
        for row, attributes in enumerate(packed):
            if attributes != _NONE:
                self._post(row, _UNPACK(attributes))

    def of(self, row: int) -> dict[str, Attribute]:
        """Return a row's attributes."""
        return _UNPACK(self.packed[row])

    def entries(self, rows: NDArray[np.int64] | None = None) -> AttributeEntries:
        """Return the entries of some rows, (m,), or of all."""
        coded, bits = self._coded.data[: self._used], self._bits.data[: self._used]
        if rows is None:
            return AttributeEntries(self._codes, self._rows.data[: self._used], coded, bits)
        counts = self._counts.data.take(rows)
        ends = counts.cumsum()
        places = np.arange(len(rows)).repeat(counts)  # (e,)
        where = np.arange(len(places)) + (self._starts.data.take(rows) - ends + counts)[places]
        return AttributeEntries(self._codes, places, coded.take(where), bits.take(where))

    def _post(self, row: int, attributes: dict[str, Attribute]) -> None:
        found = {
            code: bits_of(value)
            for name, value in attributes.items()
            if (code := self._code(name, kind_of(value))) is not None
        }
        if self._used + len(found) > len(self._coded.data):
            self._make_room(len(found))
        start, self._used = self._used, self._used + len(found)
        self._starts.data[row], self._counts.data[row] = start, len(found)
        if found:
            self._rows.data[start : self._used] = row
            self._coded.data[start : self._used] = list(found)
            self._bits.data[start : self._used] = list(found.values())

    def _code(self, name: str, kind: type) -> int | None:
        """Return what stands for a name and kind in entries, None for a name too many."""
        if name not in self._names:
            if len(self._names) == NAMES_AT_MOST:
                self.names_refused += 1
                return None
            self._names.add(name)
        return self._codes.setdefault((name, kind), len(self._codes))

    def _make_room(self, more: int) -> None:
        """Drop what ended; where that is less than half, grow."""
        kept = np.flatnonzero(self._coded.data[: self._used] != _ENDED)
        columns = (self._rows, self._coded, self._bits)
        for column in columns:
            column.data[: len(kept)] = column.data[kept]
        self._used = len(kept)
        rows = self._rows.data[: len(kept)]
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        self._starts.data[rows[firsts]] = firsts
        for column in columns:
            column.reserve(2 * len(kept) + more)


class AttributeEntries(NamedTuple):
    """What rows say by attributes, entry by entry: whose it is, of which name and kind, its value.

    Ended entries have no code that anything asks for.
    """

    codes: Mapping[tuple[str, type], int]
    at: NDArray[np.integer]  # (e,) the row, or its place among those that were asked about
    coded: NDArray[np.int16]  # (e,)
    bits: NDArray[np.int64]  # (e,) numbers are read by `.view(np.float64)`

    def carriers(self, name: str, kind: type) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """Return whose the entries of a name and kind (str, float or bool) are, and their bits."""
        found = np.flatnonzero(self.coded == self.codes.get((name, kind), _UNHEARD_OF))
        return self.at.take(found), self.bits.take(found)


def trimmed(value: Attribute) -> Attribute:
    """Return a value without blanks around it: they are typed, not meant."""
    return value.strip() if isinstance(value, str) else value


def kind_of(value: Attribute) -> type:
    """Return str, float or bool."""
    if isinstance(value, bool):  # before numbers: a bool is an int in Python
        return bool
    return str if isinstance(value, str) else float


def bits_of(value: Attribute) -> int:
    """Return the 64 bits that a value is compared by; equal values have equal bits."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return hash(value)
    return int(np.float64(value + 0.0).view(np.int64))  # + 0.0: -0.0 equals 0.0
