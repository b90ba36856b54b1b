"""Read what a network sees itself, where no encoder has looked before: small posters and words.

Legend: n items; s pixels of a side; l words.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.training.data.dataset import Dataset
from services.training.data.histories import Ints
from shared.bundles.content import text_of

UNKNOWN: Final = 1  # a word that learnt items do not have twice; 0 fills up
_WORD: Final = re.compile(r"\w+")


def small_pictures(data: Dataset, side: int) -> NDArray[np.uint8]:
    """Return (n, s, s, 3) RGB, black where there is none. About a millisecond each."""
    from PIL import Image

    from shared.bundles.picture import BadPicture, decode

    pictures = np.zeros((data.n_items, side, side, 3), np.uint8)
    for row, item_id in enumerate(data.item_ids):
        if item_id not in data.pictures:
            continue
        try:
            whole = decode(data.pictures[item_id].read_bytes())
        except BadPicture:  # counts as none, as in the service
            continue
        small = Image.fromarray(whole).resize((side, side), Image.Resampling.BOX)
        pictures[row] = np.asarray(small)
    return pictures


def words_of(data: Dataset, learnt: NDArray[np.bool_], length: int) -> tuple[Ints, int]:
    """Return the numbers of items' first words, (n, l), and how many numbers there are.

    learnt: (n,) whose words are learnt; one of a single item says nothing of another.
    """
    said = [
        _WORD.findall(text_of(item).lower())[:length]
        if (item := data.items.get(item_id)) is not None
        else []
        for item_id in data.item_ids
    ]
    counts = Counter(
        word for words, known in zip(said, learnt, strict=True) if known for word in set(words)
    )
    numbers = {
        word: number
        for number, word in enumerate(
            sorted(word for word, count in counts.items() if count > 1), UNKNOWN + 1
        )
    }
    table = np.zeros((data.n_items, length), np.int64)
    for row, words in enumerate(said):
        table[row, : len(words)] = [numbers.get(word, UNKNOWN) for word in words]
    return table, len(numbers) + UNKNOWN + 1
