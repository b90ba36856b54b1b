"""Read a folder of interactions as a dataset, whatever form it has."""

from __future__ import annotations

from pathlib import Path

from services.training.data import movielens
from services.training.data.dataset import Dataset
from services.training.data.events import tables
from services.training.data.events.tables import AS_IT_SAYS, TableForm
from shared.inputs.movielens import INTERACTIONS
from shared.inputs.refusals import BadInput


def read(folder: Path, posters: Path | None = None, form: TableForm = AS_IT_SAYS) -> Dataset:
    """Read tables of one's own, where there are any, else MovieLens.

    posters: a folder of MOVIE_ID.jpg. Raises BadInput for a file that cannot be used.
    """
    if tables.found(folder, tables.INTERACTIONS):
        return tables.read(folder, form)
    if form != AS_IT_SAYS:
        raise BadInput(
            f"{folder}: has no interactions.* that could be read otherwise than they say"
        )
    if not movielens.is_there(folder):
        raise BadInput(
            f"{folder}: must hold interactions.csv, .tsv, .jsonl or .parquet, or MovieLens:"
            f" {', '.join(INTERACTIONS)}"
        )
    return movielens.read(folder, posters)
