"""Grow numpy columns by row, and find an item's row by its key.

Legend: n rows; q keys asked for.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

FIRST_ROWS: Final = 1024
_EMPTY: Final = -2  # a slot of KeyRows that no key ever took
_NOWHERE: Final = -1
_STEPS: Final = np.arange(1, 9)


class Column:
    """A numpy array by row that doubles when it is full.

    `data` is longer than the rows in use and is replaced as it grows: take it anew after changes.
    A thread that holds an older `data` reads the values of then.
    """

    __slots__ = ("_fill", "data")

    def __init__(self, dtype: DTypeLike, *, width: int | None = None, fill: Any = 0) -> None:
        self._fill = fill
        shape = (0,) if width is None else (0, width)
        self.data: NDArray[Any] = np.empty(shape, dtype)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows; new ones hold the fill value."""
        size = len(self.data)
        if rows <= size:
            return
        room = max(FIRST_ROWS, size)
        while room < rows:
            room *= 2
        grown = np.full((room, *self.data.shape[1:]), self._fill, self.data.dtype)
        grown[:size] = self.data
        self.data = grown


class KeyRows:
    """Which row holds a key: open addressing over numpy arrays, 12 bytes a slot, half full at most.

    Keys are hashes already, so their low bits choose the slot. Many keys are found at once, in
    about 20 ns each. A key that was dropped keeps its slot until the table grows.
    """

    def __init__(self, slots: int = 2 * FIRST_ROWS) -> None:
        """slots: a power of two."""
        self._taken = 0
        self._table = _empty_table(slots)

    def __len__(self) -> int:
        """Count the keys that have a row."""
        return int(np.count_nonzero(self._table[1] >= 0))

    def row(self, key: int) -> int:
        """Return the key's row, -1 where it has none."""
        keys, rows = self._table
        return max(int(rows[_slot(keys, rows, key)]), _NOWHERE)

    def rows(self, asked: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of keys of any shape, -1 where a key has none."""
        keys, rows = self._table
        mask = np.uint64(len(keys) - 1)
        flat = asked.ravel()
        slots = (flat & mask).astype(np.int64)  # (q,)
        found = rows.take(slots).astype(np.int64)
        # Most keys stand in their first slot; the few others walk on together, some steps at once.
        walking = np.flatnonzero((keys.take(slots) != flat) & (found != _EMPTY))
        slots = slots[walking]
        while walking.size:
            ahead = (slots[:, None] + _STEPS) & (len(keys) - 1)
            there = rows.take(ahead)
            ends = (keys.take(ahead) == flat[walking, None]) | (there == _EMPTY)
            first = np.arange(len(walking)), ends.argmax(axis=1)
            found[walking] = there[first]
            going = ~ends[first]
            walking, slots = walking[going], ahead[going, -1]
        return np.maximum(found, _NOWHERE, out=found).reshape(asked.shape)

    def put(self, key: int, row: int) -> None:
        """Let a key stand for a row; -1 drops it."""
        keys, rows = self._table
        slot = _slot(keys, rows, key)
        if rows[slot] == _EMPTY:
            if row == _NOWHERE:
                return
            if 2 * (self._taken + 1) > len(keys):
                self._grow(1)
                keys, rows = self._table
                slot = _slot(keys, rows, key)
            keys[slot] = key
            self._taken += 1
        rows[slot] = row

    def put_many(self, new: NDArray[np.uint64], new_rows: NDArray[np.int64]) -> None:
        """Let keys, each at most once and none of them in the table, stand for rows."""
        self._grow(len(new))
        _fill(self._table, new, new_rows.astype(np.int32))
        self._taken += len(new)

    def _grow(self, more: int) -> None:
        """Swap in a new table without dropped keys, a quarter full at most with that many more."""
        keys, rows = self._table
        used = rows >= 0
        self._taken = int(np.count_nonzero(used))
        slots = 2 * FIRST_ROWS
        while slots < 4 * (self._taken + more):
            slots *= 2
        table = _empty_table(slots)
        _fill(table, keys[used], rows[used])
        self._table = table  # at once, for readers in other threads


_Table = tuple[NDArray[np.uint64], NDArray[np.int32]]


def _empty_table(slots: int) -> _Table:
    return np.zeros(slots, np.uint64), np.full(slots, _EMPTY, np.int32)


def _slot(keys: NDArray[np.uint64], rows: NDArray[np.int32], key: int) -> int:
    """Return the slot that holds the key, else the empty one where it would go."""
    last = len(keys) - 1
    slot = key & last
    while rows[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + 1) & last
    return slot


def _fill(table: _Table, new: NDArray[np.uint64], new_rows: NDArray[np.int32]) -> None:
    """Put keys that the table does not hold, all at once: who finds a slot taken walks on."""
    keys, rows = table
    last = len(keys) - 1
    slots = (new & np.uint64(last)).astype(np.int64)
    waiting = np.arange(len(new))
    while waiting.size:
        free = rows[slots[waiting]] == _EMPTY
        landing = waiting[free]
        keys[slots[landing]], rows[slots[landing]] = new[landing], new_rows[landing]
        # Where several landed on one slot the last one has it; the others go on.
        waiting = waiting[keys[slots[waiting]] != new[waiting]]
        slots[waiting] = (slots[waiting] + 1) & last


class Codes:
    """Small numbers for words that repeat, such as currencies; 0 is no word."""

    def __init__(self) -> None:
        self._words = [""]
        self._codes = {"": 0}

    def code(self, word: str) -> int:
        """Return the word's code, a new one for a new word."""
        code = self._codes.setdefault(word, len(self._words))
        if code == len(self._words):
            self._words.append(word)
        return code

    def known(self, word: str) -> int | None:
        """Return the word's code, None for a word that never came."""
        return self._codes.get(word)

    def word(self, code: int) -> str:
        """Return the word of a code."""
        return self._words[code]

    def words(self) -> list[str]:
        """Return all words by code."""
        return list(self._words)
