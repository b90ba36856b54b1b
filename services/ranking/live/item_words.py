"""Know which items have a word in title, labels or attributes, as items come and go. Pure.

Legend: c rows of the catalogue; w words of a query.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.catalogue.catalogue import Applied, Catalogue
from shared.catalogue.item_text import labels_of
from shared.catalogue.labels import LabelLookUp, LabelSets

QUERY_WORDS: Final = 32  # at most
ITEM_WORDS: Final = 64

_WORD = re.compile(r"\w+")


def words_of(text: str, at_most: int = QUERY_WORDS) -> tuple[str, ...]:
    """Return a text's first distinct words, without case and accents, in order."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return tuple(dict.fromkeys(_WORD.findall(plain)))[:at_most]


class ItemWords:
    """Words by row; listens to its catalogue. About 500 bytes an item."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._sets = LabelSets()
        self._take(range(len(catalogue)))
        catalogue.listen(self._note)

    def _note(self, applied: Applied) -> None:
        self._take(sorted({*applied.added, *applied.changed}))

    def _take(self, rows: range | list[int]) -> None:
        self._sets.reserve(len(self._catalogue))
        for row in rows:
            while len(self._sets.by_row) < row:
                self._sets.set(len(self._sets.by_row), ())
            self._sets.set(row, self._words(row))

    def _words(self, row: int) -> tuple[str, ...]:
        catalogue = self._catalogue
        labels = labels_of(
            catalogue.categories[row], catalogue.tags[row], catalogue.attributes.of(row)
        )
        return words_of(" ".join((catalogue.titles[row], *labels)), ITEM_WORDS)

    def look_up(self, words: tuple[str, ...]) -> LabelLookUp:
        """Return who has each of a query's words, for `shares_of`."""
        return self._sets.look_up(words, len(self._catalogue))


def shares_of(found: LabelLookUp) -> NDArray[np.float32]:
    """Return the share of a query's words that each item has, (c,) 0 to 1. In any thread.

    A word counts by its rarity, log2(1 + c / items with it), so that "the" says little; a word
    that no item has counts as the rarest.
    """
    total, by_set = 0.0, np.zeros(found.sets, np.float32)
    for sets, items in found.carriers():
        rarity = math.log2(1 + len(found.ids) / max(1, items))
        total += rarity
        by_set[sets] += np.float32(rarity)
    return found.by_row(by_set / np.float32(total) if total else by_set)
