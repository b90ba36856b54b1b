"""Clustered vectors and catalogues of them, for tests of the index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.ranking.index.layers import Base
from services.ranking.index.served import LoadedBase
from shared.catalogue.catalogue import Catalogue, Change
from tests.unit.shared.catalogue.makers import SPACE, put

DIM = 16
CLUSTERS = 40


def clustered(count: int, seed: int = 0) -> NDArray[np.float16]:
    """Return unit vectors around 40 centres, (count, 16)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((CLUSTERS, DIM))
    vectors = centres[np.arange(count) % CLUSTERS] + 0.5 * rng.standard_normal((count, DIM))
    unit: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float16
    )
    return unit


def puts(vectors: NDArray[np.float16], first: int = 0, version: int = 1) -> list[Change]:
    """Return the arrivals of `item-FIRST`, …"""
    return [put(f"item-{first + n}", version, vector) for n, vector in enumerate(vectors)]


def catalogue_with(changes: Iterable[Change]) -> Catalogue:
    """Return a catalogue in 16 dimensions that has taken these changes."""
    catalogue = Catalogue(SPACE, DIM)
    catalogue.apply(changes)
    return catalogue


def loaded(catalogue: Catalogue, base: Any, name: str = "base") -> LoadedBase:
    """Return a base over the living items; base: makes one of vectors."""
    rows = np.flatnonzero(catalogue.alive)
    vectors = catalogue.vectors[rows].copy()
    made: Base = base(vectors)
    return LoadedBase(name, made, catalogue.keys[rows].copy(), vectors)


def brute_force(
    catalogue: Catalogue, query: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None = None
) -> list[int]:
    """Return the k best living and allowed rows, the plain way."""
    mask = catalogue.alive.copy()
    if allowed is not None:
        mask[len(allowed) :] = False
        mask[: len(allowed)] &= allowed[: len(mask)]
    rows = np.flatnonzero(mask)
    scores = catalogue.vectors[rows].astype(np.float32) @ query.astype(np.float32)
    best: list[int] = rows[np.argsort(-scores, kind="stable")][:k].tolist()
    return best
