"""Cut epochs into batches: windows of histories, of about equal length and equal in events.

Legend: w windows; n rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.training.data.histories import Histories, Ints


@dataclass(frozen=True, slots=True)
class Windows:
    """Parts of histories: events starts[w] to starts[w] + lengths[w] of them all."""

    starts: Ints  # (w,)
    lengths: Ints  # (w,)

    def __len__(self) -> int:
        """Return how many windows there are."""
        return len(self.starts)


def windows(
    histories: Histories,
    length: int,  # events of a window, at most
    rng: np.random.Generator,
    earlier: float = 1.0,  # random windows for each `length` events before the newest window
) -> Windows:
    """Return each history's newest window and, of long ones, random earlier ones.

    Histories of fewer than two events have none, as nothing comes next in them.
    """
    sizes = histories.lengths
    starts, ends = histories.starts[:-1], histories.starts[1:]
    some = sizes > 1
    newest_starts = np.maximum(starts, ends - length)[some]
    newest_lengths = (ends[some] - newest_starts).astype(np.int64)
    before = np.maximum(sizes - length, 0)  # events that the newest window leaves out
    wanted = earlier * before / length
    counts = np.floor(wanted + rng.random(len(sizes))).astype(np.int64)  # as many in the mean
    shift = 1 + np.floor(rng.random(counts.sum()) * np.repeat(before, counts)).astype(np.int64)
    moved = np.repeat(ends - length, counts) - shift
    return Windows(
        np.concatenate([newest_starts, moved]),
        np.concatenate([newest_lengths, np.full(len(moved), length, np.int64)]),
    )


def equal_in_events(
    lengths: Ints,  # (n,)
    events: int,  # rows × longest of a batch, at most
    rng: np.random.Generator,
    jitter: float = 0.05,  # share of its length by which a row is out of its place, at most
) -> list[Ints]:
    """Return batches of rows of about equal length, so that little is padded, in random order.

    A row longer than `events` is a batch of its own.
    """
    out_of_place = 1 + jitter * (2 * rng.random(len(lengths)) - 1)
    order = np.argsort(lengths * out_of_place, kind="stable")[::-1]
    batches, start = [], 0
    while start < len(order):
        longest, end = int(lengths[order[start]]), start + 1
        while end < len(order):
            longest = max(longest, int(lengths[order[end]]))
            if longest * (end + 1 - start) > events:
                break
            end += 1
        batches.append(order[start:end])
        start = end
    rng.shuffle(batches)
    return batches


def equal_in_rows(rows: int, size: int, rng: np.random.Generator) -> list[Ints]:
    """Return all rows in random order in batches of a size; the last may be smaller."""
    order = rng.permutation(rows)
    return [order[start : start + size] for start in range(0, rows, size)]
