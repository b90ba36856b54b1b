"""Say how a ranker is shown candidates: features by name, rows in blocks of one size. Pure.

It is what training, bundles and ranking agree in. Every feature lies in -1 to 1 unless its line
says otherwise; absent is 0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class FeatureColumn(IntEnum):
    """Columns of the matrix; the blend scores by the first ones, up to TOWER (blend.PARTS)."""

    SESSION = 0  # cosine to the present visit's vector
    INTERESTS = 1  # to the nearest of a few tastes
    LONG_TERM = 2
    COVISITS = 3
    TRENDING = 4
    CONTENT = 5  # cosine to the nearest of the last liked items
    POPULARITY = 6
    FRESHNESS = 7
    DISLIKE = 8
    TOWER = 9  # cosine of the tower vector to what the session tower makes of the history
    NEW = 10  # by this new items compete for the places that are theirs (new_places.py)
    TRENDING_ALL = 11  # share of the strongest, square root
    TRENDING_CATEGORY = 12
    TRENDING_SEGMENT = 13
    LAST_ITEM = 14  # cosine to the newest liked item
    CATEGORY_AFFINITY = 15  # share of the history's positive weight in the item's categories
    PRICE_LOG = 16  # log1p(price): 0 to about 15
    PRICE_RATIO = 17  # log1p(price) less its mean over what is liked
    AGE_DAYS_LOG = 18  # log1p(days since arrival): 0 to about 10
    EVENTS_SHARE = 19  # history's length in 50 entries: beyond 1 where histories are longer
    IDLE_HOURS_LOG = 20  # log1p(hours since the last event): 0 to about 9


NAMES: Final = tuple(column.name.lower() for column in FeatureColumn)
OF_USER: Final = "user:"  # before the name of an attribute, which is a feature, too

# Rows of a block: a multiple of what BLAS kernels take at once (4, 6, 8, 12 or 16), so that no row
# is left over for another kernel. Measured on OpenBLAS's for Nehalem to Cooper Lake, and Zen.
BLOCK: Final = 48


def padded(count: int) -> int:
    """Return how many rows fill the blocks that so many rows need."""
    return -(-count // BLOCK) * BLOCK
