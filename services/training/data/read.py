"""Read a folder of interactions as a dataset, whatever form it has."""

from __future__ import annotations

from pathlib import Path

from services.training.data import movielens
from services.training.data.dataset import Dataset
from services.training.data.events import tables


def read(folder: Path, posters: Path | None = None) -> Dataset:
    """Read tables of one's own, where there are any, else MovieLens.

    posters: a folder of MOVIE_ID.jpg. Raises BadInput for a file that cannot be used.
    """
    if tables.found(folder, tables.INTERACTIONS):
        return tables.read(folder)
    return movielens.read(folder, posters)
