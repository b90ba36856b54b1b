"""Read a folder of interactions as a dataset, whatever form it has."""

from __future__ import annotations

from pathlib import Path

from services.training.data import movielens
from services.training.data.dataset import Dataset


def read(folder: Path, posters: Path | None = None) -> Dataset:
    """Read MovieLens or tables of one's own.

    posters: a folder of MOVIE_ID.jpg. Raises BadInput for a file that cannot be used.
    """
    return movielens.read(folder, posters)
