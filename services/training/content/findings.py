"""Measure what vectors of contents find: neighbours of one kind, and titles by some of their words.

Legend: n items; d columns; g categories; q queries; k found.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.training.data.histories import Floats

NEIGHBOURS: Final = 10
OF_A_WORD: Final = 20  # items looked at that a category's name finds
_BINS: Final = 4  # of each colour in a histogram
_STRIDE: Final = 4  # pixels; a histogram needs no finer look
_WORD: Final = re.compile(r"[^\W\d_]+(?:'\w+)?")

Flags = NDArray[np.bool_]


def shared_categories(vectors: Floats, flags: Flags) -> Floats:
    """Return (n,) the share of each item's nearest that have a category in common with it.

    vectors (n, d) unit rows, flags (n, g).
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    shared: Floats = (flags[nearest] & flags[:, None]).any(axis=2).mean(axis=1)
    return shared


def shared_by_chance(flags: Flags) -> Floats:
    """Return (n,) the share of all others that have a category in common with each."""
    common = (flags.astype(np.float32) @ flags.T.astype(np.float32)) > 0
    np.fill_diagonal(common, False)
    by_chance: Floats = common.sum(axis=1) / max(len(flags) - 1, 1)
    return by_chance


def colour_histograms(pictures: NDArray[np.uint8]) -> Floats:
    """Return (n, 64) square roots of shares, of unit length: cosines are Bhattacharyya's."""
    seen = pictures[:, ::_STRIDE, ::_STRIDE].astype(np.int64) * _BINS // 256
    bins = (seen[..., 0] * _BINS + seen[..., 1]) * _BINS + seen[..., 2]
    counts = np.stack([np.bincount(each.ravel(), minlength=_BINS**3) for each in bins])
    histograms: Floats = np.sqrt(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return histograms


def without_a_word(title: str, rng: np.random.Generator) -> str | None:
    """Return a title's words less one at random, without its year; None where it has but one."""
    words = _WORD.findall(title)
    if len(words) < 2:
        return None
    left_out = int(rng.integers(len(words)))
    return " ".join(word for at, word in enumerate(words) if at != left_out)


def ranks_of_targets(queries: Floats, vectors: Floats, targets: NDArray[np.int64]) -> Floats:
    """Return (q,) how many items stand before each query's target, ties at the middle."""
    scores = queries @ vectors.T
    own = scores[np.arange(len(targets)), targets][:, None]
    ranks: Floats = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
    return ranks


def found_by_word(queries: Floats, vectors: Floats, flags: Flags) -> Floats:
    """Return (g,) the share of what each category's name finds that is of it; queries (g, d)."""
    found = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :OF_A_WORD]
    precision: Floats = np.take_along_axis(flags.T, found, axis=1).mean(axis=1)
    return precision
