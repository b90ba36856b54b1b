"""Name the splits that models are measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from services.training.data.cold import new_items, new_users
from services.training.data.dataset import Dataset
from services.training.data.events.tables import AS_IT_SAYS, TableForm
from services.training.data.given import GIVEN, given
from services.training.data.over_time import global_time
from services.training.data.splits import Split, leave_last_out
from shared.inputs.refusals import BadInput

LEAVE_LAST_OUT: Final = "leave-last-out"
K_FOLD: Final = "k-fold"  # of ratings: it asks for those, not for items
# name → split of a dataset by a seed
SPLITS: Final[Mapping[str, Callable[[Dataset, int], Split]]] = {
    LEAVE_LAST_OUT: lambda data, seed: leave_last_out(data),
    "global-time": global_time,
    "new-items": new_items,
    "new-users": new_users,
}

NAMES: Final = (*SPLITS, GIVEN, K_FOLD)


def split_of(
    name: str,
    data: Dataset,
    seed: int,
    folder: Path | None = None,
    form: TableForm = AS_IT_SAYS,
) -> Split:
    """Split a dataset, which is of a folder with tables of a form, if of any.

    Raises BadInput for an unknown split, or where nobody can be asked.
    """
    if name == GIVEN:
        if folder is None:
            raise BadInput(f"the split {GIVEN} is of a folder, --data")
        return given(data, folder, form)
    if name not in SPLITS:
        raise BadInput(f"a split must be one of {', '.join(NAMES)}, was {name}")
    split = SPLITS[name](data, seed)
    if not len(split.test):
        raise BadInput(f"{data.name}: {name} must have users to ask, has none")
    return split
