"""Hold users' events one after the other, as models are taught and asked.

Legend: u users; e events of all of them; l length that is padded to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Histories:
    """Events by user, oldest first: those of row r are `items[starts[r]:starts[r + 1]]`."""

    users: Ints  # (u,) numbers of the dataset's users, -1 for one that it does not know
    starts: Ints  # (u + 1,)
    items: Ints  # (e,) numbers of the dataset's items
    times_s: Ints | None = None  # (e,) None where only the order is known
    values: Floats | None = None  # (e,) ratings, None where there are none

    def __len__(self) -> int:
        """Return how many users there are."""
        return len(self.users)

    @property
    def lengths(self) -> Ints:
        """Return how many events each user has, (u,)."""
        return np.diff(self.starts)

    def rows(self) -> Ints:
        """Return whose each event is: (e,) rows, not numbers of users."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def of(self, row: int) -> Ints:
        """Return the items of one row, oldest first."""
        return self.items[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: Ints) -> Histories:
        """Return some of the users, in this order."""
        return self._cut(rows, self.starts[rows], self.starts[np.asarray(rows) + 1])

    def newest(self, at_most: int | Ints) -> Histories:
        """Return each user's last events; at_most: for all, or (u,) for each."""
        starts = np.maximum(self.starts[1:] - at_most, self.starts[:-1])
        return self._cut(np.arange(len(self)), starts, self.starts[1:])

    def first(self, at_most: int | Ints) -> Histories:
        """Return each user's first events; at_most: for all, or (u,) for each."""
        ends = np.minimum(self.starts[:-1] + at_most, self.starts[1:])
        return self._cut(np.arange(len(self)), self.starts[:-1], ends)

    def without_last(self, count: int) -> Histories:
        """Return each user's events less the last ones."""
        return self.first(np.maximum(self.lengths - count, 0))

    def kept(self, keep: NDArray[np.bool_]) -> Histories:
        """Return the events of a mask (e,); every user stays, if without events."""
        starts = np.concatenate([[0], np.cumsum(keep)])[self.starts]
        return Histories(
            self.users,
            starts,
            self.items[keep],
            None if self.times_s is None else self.times_s[keep],
            None if self.values is None else self.values[keep],
        )

    def padded(self, length: int, pad: int) -> Ints:
        """Return each user's last items, (u, l), the newest in the last column."""
        newest = self.newest(length)
        table = np.full((len(self), length), pad, np.int64)
        columns = np.arange(len(newest.items)) - np.repeat(newest.starts[1:], newest.lengths)
        table[newest.rows(), columns] = newest.items
        return table

    def _cut(self, rows: Ints, starts: Ints, ends: Ints) -> Histories:
        lengths = ends - starts
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        events = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], lengths)
        return Histories(
            self.users[rows],
            bounds,
            self.items[events],
            None if self.times_s is None else self.times_s[events],
            None if self.values is None else self.values[events],
        )


def grouped(
    users: Ints,  # (e,) numbers, in any order
    items: Ints,  # (e,)
    n_users: int,
    times_s: Ints | None = None,
    values: Floats | None = None,
) -> Histories:
    """Group events by user, every number below n_users; within one they keep their order."""
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], np.arange(n_users + 1))
    return Histories(
        np.arange(n_users),
        starts,
        items[order],
        None if times_s is None else times_s[order],
        None if values is None else values[order],
    )
