"""Hold the catalogue in memory: one row an item, numpy columns, fed by `item-vectors` records.

Rows and vectors. A row's vector never changes, so that an index over rows stays true: an item
whose vector changes gets a new row, and its old row dies; any other change keeps the row. A dead
row keeps its values (`alive` is false) for REUSE_AFTER_MS, far longer than a request lives, and
is then given to another item. Rows never move.

Versions. A record counts if its version is not below the one held (equal: the later record, as
the topic orders them). A delete leaves a tombstone with its version, so that an older record does
not bring the item back; the newest TOMBSTONES_AT_MOST are kept.

One thread changes a catalogue (the event loop's); others may read rows that they were given.

Legend: n rows; d numbers of the space, w of its tower; q keys asked for.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from shared.catalogue.columns import Codes, Column, KeyRows
from shared.catalogue.item_vectors import ItemVector
from shared.catalogue.labels import Attributes, LabelSets, trimmed
from shared.catalogue.offers import OfferColumns
from shared.catalogue.rows import CatalogueRows
from shared.catalogue.versions import UNSTATED
from shared.users import keys

REUSE_AFTER_MS: Final = 120_000  # the longest deadline is a minute at most
TOMBSTONES_AT_MOST: Final = 100_000  # about 100 bytes each
PARTS: Final = ("image", "text", "tower")  # vectors that items may have beside the space's
SHORTEST, LONGEST = 0.5, 2.0  # a unit vector in float16, with room for a careless encoder


class Items(Protocol):
    """What folding and ranking need of a catalogue."""

    @property
    def space(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def vectors(self) -> NDArray[np.float16]: ...  # (n, d) by row
    @property
    def categories(self) -> Sequence[tuple[str, ...]]: ...  # by row

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of item keys of any shape, -1 where a key is unknown."""
        ...


class Change(NamedTuple):
    """One record of `item-vectors`: an item, or None for its delete, and the header's version."""

    item_id: str
    version: int
    item: ItemVector | None


class KeyCollision(ValueError):
    """Another id has the same 8-byte key; the item is refused (p < 10⁻⁵ at 12 M items)."""


@dataclass(slots=True)
class Applied:
    """What a call of `apply` did. Rows are in the order they changed; one may stand twice."""

    added: list[int] = field(default_factory=list)  # rows that live from now on
    died: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)  # same vector, other metadata
    stale: int = 0  # records with a version below the one held
    refused: list[tuple[str, str]] = field(default_factory=list)  # (item id, why)


Listener = Callable[[Applied], None]


class Catalogue:
    """Holds all items of one space. Columns are views by row, (n, …): take them anew each time."""

    def __init__(
        self, space: str, dim: int, *, key_of: Callable[[str], int] = keys.item_key
    ) -> None:
        self.space = space
        self.dim = dim
        self.ids: list[str] = []
        self.titles: list[str] = []
        self.pictures_missing: dict[int, str] = {}  # by row: why its picture could not be had
        self.category_sets = LabelSets()
        self.tag_sets = LabelSets()
        self.attributes = Attributes()
        self.currencies = Codes()
        self.terms = OfferColumns(
            self.currencies
        )  # the items' own; ranking merges offers into its own
        self.living = 0
        self.stale = 0  # records ignored for a lower version, since the start
        self.refused = 0  # records that cannot be taken in, since the start
        self._key_of = key_of
        self._key_rows = KeyRows()
        self._keys = Column(np.uint64)
        self._alive = Column(np.bool_, fill=False)
        self._versions = Column(np.int64)
        self._updated = Column(np.int64)
        self._arrived = Column(np.int64)
        self._vectors = Column(np.float16, width=dim)
        self._parts: dict[str, Column] = {}  # by PARTS: made with the first such vector
        self._tombstones: dict[int, int] = {}  # key → version, the oldest first
        self._dead: deque[tuple[int, int]] = deque()  # (row, died at ms)
        self._listeners: list[Listener] = []

    def __len__(self) -> int:
        """Count the rows, dead ones too."""
        return len(self.ids)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Item keys, (n,)."""
        return self._keys.data[: len(self.ids)]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which rows hold an item now, (n,)."""
        return self._alive.data[: len(self.ids)]

    @property
    def versions(self) -> NDArray[np.int64]:
        """Item versions in ms, (n,)."""
        return self._versions.data[: len(self.ids)]

    @property
    def updated_ms(self) -> NDArray[np.int64]:
        """The shop's own times of the items' versions, UNSTATED without one, (n,)."""
        return self._updated.data[: len(self.ids)]

    @property
    def arrived_ms(self) -> NDArray[np.int64]:
        """First arrivals, (n,)."""
        return self._arrived.data[: len(self.ids)]

    @property
    def vectors(self) -> NDArray[np.float16]:
        """Unit vectors of the space, (n, d)."""
        return self._vectors.data[: len(self.ids)]

    @property
    def image_vectors(self) -> NDArray[np.float16] | None:
        """The pictures' own parts, (n, p), zero where an item has none; None where none has."""
        return self._part("image")

    @property
    def text_vectors(self) -> NDArray[np.float16] | None:
        """The texts' own parts, (n, t), zero where an item has none; None where none has."""
        return self._part("text")

    @property
    def tower_vectors(self) -> NDArray[np.float16] | None:
        """What the bundle's item tower gives, (n, w), zero where it gives nothing; None: nowhere.

        Like an item's vector, a row's never changes.
        """
        return self._part("tower")

    @property
    def categories(self) -> Sequence[tuple[str, ...]]:
        """Categories by row."""
        return self.category_sets.by_row

    @property
    def tags(self) -> Sequence[tuple[str, ...]]:
        """Tags by row."""
        return self.tag_sets.by_row

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of item keys of any shape, -1 where a key is unknown or deleted."""
        return self._key_rows.rows(keys)

    def row(self, item_id: str) -> int:
        """Return an item's row, -1 where it is unknown or deleted."""
        row = self._key_rows.row(self._key_of(item_id))
        return row if row >= 0 and self.ids[row] == item_id else -1

    def item(self, row: int) -> Item:
        """Return what is held of an item: all but description and picture, with its own terms."""
        return Item(
            item_id=self.ids[row],
            title=self.titles[row],
            categories=self.categories[row],
            tags=self.tags[row],
            attributes=self.attributes.of(row),
            **self.terms.fields(row),
        )

    def check_key(self, item_id: str) -> None:
        """Raise KeyCollision if another living item has this id's key."""
        row = self._key_rows.row(self._key_of(item_id))
        if row >= 0 and self.ids[row] != item_id:
            raise KeyCollision(f"{item_id!r} has the same 8-byte key as {self.ids[row]!r}")

    def listen(self, listener: Listener) -> None:
        """Call a function after each `apply` that changed rows, on the same thread."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Call no listener any more: each holds the catalogue, which would hold them for ever."""
        self._listeners.clear()

    def apply(self, changes: Iterable[Change], *, now_ms: int = 0) -> Applied:
        """Take records in; whatever their order, the highest version of each item stays.

        now_ms: any clock that does not go back; without one no dead row is used again.
        """
        applied = Applied()
        for change in changes:
            key = self._key_of(change.item_id)
            row = self._key_rows.row(key)
            known = int(self._versions.data[row]) if row >= 0 else self._tombstones.get(key)
            if row >= 0 and self.ids[row] != change.item_id:
                why = f"has the same 8-byte key as {self.ids[row]!r}"
                applied.refused.append((change.item_id, why))
            elif known is not None and change.version < known:
                applied.stale += 1
            elif change.item is None:
                self._delete(key, row, change.version, now_ms, applied)
            elif why := self._fault(change.item):
                applied.refused.append((change.item_id, why))
            else:
                self._put(key, row, change.version, change.item, now_ms, applied)
        self.stale += applied.stale
        self.refused += len(applied.refused)
        if applied.added or applied.died or applied.changed:
            for listener in self._listeners:
                listener(applied)
        return applied

    def copy_rows(self) -> CatalogueRows:
        """Return all living items, in the order of their rows."""
        rows = np.flatnonzero(self.alive)
        parts = {name: self._part(name) for name in PARTS}
        image, text, tower = (None if part is None else part[rows] for part in parts.values())
        category_ids, category_sets = self.category_sets.copy(rows)
        tag_ids, tag_sets = self.tag_sets.copy(rows)
        listed = rows.tolist()
        return CatalogueRows(
            space=self.space,
            ids=[self.ids[row] for row in listed],
            titles=[self.titles[row] for row in listed],
            keys=self.keys[rows],
            versions=self.versions[rows],
            updated_ms=self.updated_ms[rows],
            arrived_ms=self.arrived_ms[rows],
            vectors=self.vectors[rows],
            image_vectors=image,
            text_vectors=text,
            tower_vectors=tower,
            category_ids=category_ids,
            category_sets=category_sets,
            tag_ids=tag_ids,
            tag_sets=tag_sets,
            attributes=[self.attributes.packed[row] for row in listed],
            pictures_missing=[self.pictures_missing.get(row, "") for row in listed],
            terms=self.terms.columns(rows),
            currencies=self.currencies.words(),
            tombstones=dict(self._tombstones),
        )

    def restore(self, saved: CatalogueRows) -> None:
        """Take the items of a snapshot as rows 0, 1, …; only while empty, with no listener yet.

        Raises ValueError for rows of another space or size.
        """
        if len(self) or self._listeners:
            raise RuntimeError("a catalogue is restored before anything else")
        count = len(saved.ids)
        if saved.space != self.space or saved.vectors.shape != (count, self.dim):
            raise ValueError(
                f"rows must be of space {self.space!r} and size {self.dim}, "
                f"were of {saved.space!r} and {saved.vectors.shape}"
            )
        self.ids, self.titles = list(saved.ids), list(saved.titles)
        missing = enumerate(saved.pictures_missing)
        self.pictures_missing = {row: sys.intern(reason) for row, reason in missing if reason}
        self._reserve(count)
        self._alive.data[:count] = True
        columns = (
            (self._keys, saved.keys),
            (self._versions, saved.versions),
            (self._updated, saved.updated_ms),
            (self._arrived, saved.arrived_ms),
            (self._vectors, saved.vectors),
        )
        for column, values in columns:
            column.data[:count] = values
        parts = (saved.image_vectors, saved.text_vectors, saved.tower_vectors)
        for name, part in zip(PARTS, parts, strict=True):
            if part is not None:
                self._parts[name] = Column(np.float16, width=part.shape[1])
                self._parts[name].reserve(len(self._keys.data))
                self._parts[name].data[:count] = part
        self.category_sets.restore(saved.category_ids, saved.category_sets)
        self.tag_sets.restore(saved.tag_ids, saved.tag_sets)
        self.attributes.restore(saved.attributes)
        codes = np.array([self.currencies.code(word) for word in saved.currencies], np.int16)
        self.terms.restore(saved.terms | {"currency": codes[saved.terms["currency"]]})
        self._key_rows.put_many(saved.keys, np.arange(count))
        self.living = count
        self.bury(saved.tombstones)

    def bury(self, tombstones: dict[int, int]) -> None:
        """Remember deletes, as a snapshot does; only for keys without an item."""
        for key, version in tombstones.items():
            self._tombstones.pop(key, None)
            self._tombstones[key] = version
        while len(self._tombstones) > TOMBSTONES_AT_MOST:
            del self._tombstones[next(iter(self._tombstones))]

    def _fault(self, item: ItemVector) -> str:
        """Say why a record cannot be taken in; empty if it can."""
        if item.space != self.space:
            return f"vector must be of space {self.space!r}, was of {item.space!r}"
        if item.vector.shape != (self.dim,):
            return f"vector must have {self.dim} numbers, had {item.vector.size}"
        wide = item.vector.astype(np.float32)
        length = float(np.sqrt(wide @ wide))
        if not SHORTEST <= length <= LONGEST:  # NaN and infinity fail too
            return f"vector must have unit length, had {length:.3g}"
        return ""

    def _put(
        self, key: int, row: int, version: int, item: ItemVector, now_ms: int, applied: Applied
    ) -> None:
        if row >= 0 and self._holds_vectors_of(row, item):
            applied.changed.append(row)
        else:
            if row >= 0:
                self._kill(row, now_ms, applied)
            row = self._new_row(now_ms)
            self.ids[row] = item.item_id
            self._keys.data[row] = key
            self._vectors.data[row] = item.vector
            self._alive.data[row] = True
            self._key_rows.put(key, row)
            self._tombstones.pop(key, None)
            self.living += 1
            applied.added.append(row)
        updated_ms = item.item.updated_ms
        self._versions.data[row] = version
        self._updated.data[row] = UNSTATED if updated_ms is None else min(updated_ms, version)
        self._arrived.data[row] = item.arrived_ms
        self.titles[row] = item.item.title
        self.pictures_missing.pop(row, None)
        if item.picture_missing:
            self.pictures_missing[row] = sys.intern(item.picture_missing)  # many share one
        self.category_sets.set(row, tuple(map(str.strip, item.item.categories)))
        self.tag_sets.set(row, tuple(map(str.strip, item.item.tags)))
        self.attributes.set(
            row, {name.strip(): trimmed(value) for name, value in item.item.attributes.items()}
        )
        self.terms.put(row, item.item)
        self._put_part("image", row, item.image_vector)
        self._put_part("text", row, item.text_vector)
        self._put_part("tower", row, item.tower_vector)

    def _delete(self, key: int, row: int, version: int, now_ms: int, applied: Applied) -> None:
        if row >= 0:
            self._kill(row, now_ms, applied)
            self._key_rows.put(key, -1)
        self.bury({key: version})

    def _kill(self, row: int, now_ms: int, applied: Applied) -> None:
        self._alive.data[row] = False
        self._dead.append((row, now_ms))
        self.living -= 1
        applied.died.append(row)

    def _new_row(self, now_ms: int) -> int:
        """Return a row that died long ago, else one at the end."""
        if self._dead and now_ms - self._dead[0][1] >= REUSE_AFTER_MS:
            return self._dead.popleft()[0]
        row = len(self.ids)
        self.ids.append("")
        self.titles.append("")
        self._reserve(row + 1)
        return row

    def _reserve(self, rows: int) -> None:
        columns = (self._keys, self._alive, self._versions, self._updated, self._arrived)
        for column in (*columns, self._vectors, *self._parts.values()):
            column.reserve(rows)
        for group in (self.category_sets, self.tag_sets, self.attributes, self.terms):
            group.reserve(rows)

    def _holds_vectors_of(self, row: int, item: ItemVector) -> bool:
        """Say whether a row has the vectors that indexes are made of as an item has them."""
        towers, tower = self._parts.get("tower"), item.tower_vector
        if self._vectors.data[row].tobytes() != item.vector.tobytes():
            return False
        if towers is None:
            return not tower.size
        held = towers.data[row]
        return held.tobytes() == tower.tobytes() if tower.shape == held.shape else not held.any()

    def _part(self, name: str) -> NDArray[np.float16] | None:
        column = self._parts.get(name)
        return None if column is None else column.data[: len(self.ids)]

    def _put_part(self, name: str, row: int, vector: NDArray[np.float16]) -> None:
        """Keep a vector of a part; one of another size than the first had is left out."""
        column = self._parts.get(name)
        if column is None:
            if not vector.size:
                return
            column = self._parts[name] = Column(np.float16, width=vector.size)
            column.reserve(len(self._keys.data))
        fits = vector.shape == column.data[row].shape
        column.data[row] = vector if fits else 0
