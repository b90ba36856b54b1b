"""Look at vectors as people can: which items lie near one, and where all lie on a map. Pure.

Legend: n items; d numbers of the space; q vectors that are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NEAREST: Final = 6


def nearest(vectors: Floats, query: Floats, count: int = NEAREST) -> list[int]:
    """Return the rows of the items nearest to a vector by cosine, the nearest first.

    vectors: (n, d) of unit length. query: (d,).
    """
    cosines = vectors @ query
    rows = np.argpartition(-cosines, min(count, len(cosines) - 1))[:count]
    return sorted((int(row) for row in rows), key=lambda row: -cosines[row])


def common_label(labels: Sequence[Sequence[str]]) -> str:
    """Return what most items have in common: the last two labels that most of them share."""
    counts = Counter(label for each in labels for label in each)
    shared = [label for label, count in counts.items() if 2 * count > len(labels)]
    return " · ".join(shared[-2:])


def principal_axes(vectors: Floats) -> tuple[Floats, Floats]:
    """Return mean (d,) and the two directions (d, 2) along which items differ most.

    That is PCA: the largest eigenvectors of the covariance, whose signs are made such that the
    largest number of each is positive, so that a map keeps its sides.
    """
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, :-3:-1]
    signs = np.sign(two[np.abs(two).argmax(axis=0), [0, 1]])
    return mean, (two * signs).astype(np.float32)
