"""Score lists that were asked for before what came next was told: prequential. Pure.

hr@10        share of questions whose answer stood among the ten that were listed
ndcg@10      1 / log2(2 + place from 0), the mean of all questions
coverage@10  share of the items that were listed for anybody
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

AT_MOST: Final = 10  # places of a list that count
SLICES: Final = 10  # of the log, for figures over time
KNOWN_FROM: Final = (0, 1, 2, 3, 5, 10, 20, 50, 100)  # events of the user's that were told


def half_of(events: int) -> int:
    """Return the number of the first event of a log's second half."""
    return events // 2


class Answered(NamedTuple):
    """One question and its answer."""

    at: int  # number of the event in the log
    known: int  # events of the user's that had been told
    place: int | None  # of what came next, from 0; None: not listed
    listed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What was asked of each kind of list, over a log of so many events and items."""

    events: int
    items: int
    asked: dict[str, list[Answered]]

    def add(self, name: str, at: int, known: int, listed: Sequence[str], target: str) -> None:
        """Take in a list of this name that was made before the target was told."""
        counted = tuple(listed[:AT_MOST])
        place = counted.index(target) if target in counted else None
        self.asked.setdefault(name, []).append(Answered(at, known, place, counted))

    def result(self) -> dict[str, Any]:
        """Return the figures of each kind of list, as JSON has them.

        Those of the second half are of the same questions whether or not another bundle answers
        them, so that lists with it and without may be compared.
        """
        half = half_of(self.events)
        return {
            name: {
                **self._figures(asked),
                "over_time": [
                    {"events": -(-self.events * (slice_ + 1) // SLICES), **self._figures(part)}
                    for slice_, part in _parts(asked, lambda one: one.at * SLICES // self.events)
                ],
                "by_known": self._by_known(asked),
                "second_half": self._late([one for one in asked if one.at >= half]),
            }
            for name, asked in self.asked.items()
        }

    def _late(self, asked: Sequence[Answered]) -> dict[str, Any]:
        return {**self._figures(asked), "by_known": self._by_known(asked)} if asked else {}

    def _by_known(self, asked: Sequence[Answered]) -> dict[str, dict[str, float]]:
        """Return figures by how many events of the user's had been told."""
        return {
            _range(bucket): self._figures(part)
            for bucket, part in _parts(asked, lambda one: bisect_right(KNOWN_FROM, one.known) - 1)
        }

    def _figures(self, asked: Sequence[Answered]) -> dict[str, float]:
        gains = [0.0 if one.place is None else 1 / math.log2(2 + one.place) for one in asked]
        listed = {item for one in asked for item in one.listed}
        return {
            "asked": len(asked),
            "hr@10": round(sum(one.place is not None for one in asked) / len(asked), 4),
            "ndcg@10": round(sum(gains) / len(asked), 4),
            "coverage@10": round(len(listed) / self.items, 4),
        }


def _parts(
    asked: Sequence[Answered], number: Callable[[Answered], int]
) -> Iterable[tuple[int, list[Answered]]]:
    """Yield the questions of each number that has any, ascending."""
    for wanted in sorted(set(map(number, asked))):
        yield wanted, [one for one in asked if number(one) == wanted]


def _range(bucket: int) -> str:
    """Name a range of KNOWN_FROM: `3-4`, `0`, `100+`."""
    first = KNOWN_FROM[bucket]
    if bucket + 1 == len(KNOWN_FROM):
        return f"{first}+"
    last = KNOWN_FROM[bucket + 1] - 1
    return str(first) if first == last else f"{first}-{last}"
