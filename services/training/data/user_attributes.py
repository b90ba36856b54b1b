"""Make columns of what is known of users: flags that a model multiplies by weights of its own.

Legend: u users; a flags.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from services.training.data.dataset import Attributes, Dataset
from services.training.data.histories import Floats

FLAGS_AT_MOST: Final = 64  # of one attribute, the most frequent: postcodes are not told apart
USERS_AT_LEAST: Final = 5  # who share a value, so that a flag tells of a group and of no person
CUTS: Final = 9  # of a number with many values: at tenths of the users

_FLAG = re.compile(r"(?P<name>.+?)(?P<kind>>=|=)(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UserFlags:
    """Says which flags there are: `NAME=VALUE` of words and truths, `NAME>=NUMBER` of numbers."""

    names: tuple[str, ...]  # (a,)

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Choose the flags that tell the dataset's users apart, the same for the same users."""
        values: dict[str, list[str | float | bool]] = {}
        for attributes in data.attributes.values():
            for name, value in attributes.items():
                values.setdefault(name, []).append(value)
        return cls(tuple(flag for name in sorted(values) for flag in _flags(name, values[name])))

    def __len__(self) -> int:
        """Return how many flags there are."""
        return len(self.names)

    def table(self, data: Dataset) -> Floats:
        """Return each user's flags, (u, a); all 0 of a user of whom nothing is known."""
        return self.rows([data.attributes.get(user_id, {}) for user_id in data.user_ids])

    def rows(self, people: Sequence[Attributes]) -> Floats:
        """Return the flags of some, (u, a)."""
        columns = {name: at for at, name in enumerate(self.names)}
        table = np.zeros((len(people), len(self)), np.float32)
        cuts: dict[str, list[tuple[float, int]]] = {}
        for name, at in columns.items():
            found = _FLAG.fullmatch(name)
            if found is not None and found["kind"] == ">=":
                cuts.setdefault(found["name"], []).append((float(found["value"]), at))
        for row, attributes in enumerate(people):
            for name, value in attributes.items():
                if isinstance(value, float) and not isinstance(value, bool):
                    for least, at in cuts.get(name, ()):
                        table[row, at] = value >= least
                elif (flag := columns.get(_equals(name, value))) is not None:
                    table[row, flag] = 1
        return table

    def packed(self) -> NDArray[np.uint8]:
        """Return the names as a tensor holds them."""
        return np.frombuffer(json.dumps(self.names).encode(), np.uint8)

    @classmethod
    def unpacked(cls, packed: NDArray[np.uint8]) -> Self:
        """Read what `packed` made."""
        return cls(tuple(json.loads(packed.tobytes())))


def _equals(name: str, value: str | bool | float) -> str:
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def _flags(name: str, values: Sequence[str | float | bool]) -> list[str]:
    numbers = [value for value in values if isinstance(value, float)]
    counts = Counter(_equals(name, value) for value in values if not isinstance(value, float))
    often = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:FLAGS_AT_MOST]
    flags = [flag for flag, count in often if count >= USERS_AT_LEAST]
    if len(numbers) >= USERS_AT_LEAST:
        tenths = np.quantile(numbers, np.arange(1, CUTS + 1) / (CUTS + 1), method="higher")
        least = min(numbers)
        flags += [f"{name}>={cut:g}" for cut in np.unique(tenths).tolist() if cut > least]
    return flags
