"""List items for a text or a picture, by vectors, and for a text by the words of items too."""

from __future__ import annotations

import asyncio
from typing import Final

import numpy as np

from freshet.errors import Unavailable
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.live.item_words import shares_of, words_of
from services.ranking.requests import ItemQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.similar import allowed, nearest_rows
from services.ranking.stages import degraded
from services.ranking.stages.similar_items import (
    ALIKE_FROM,
    Floats,
    Mask,
    Rows,
    SimilarItems,
    cosines,
    nothing,
    ordered,
)
from shared.catalogue.labels import LabelLookUp
from shared.runtime.deadline import Deadline

WORDS_WEIGHT: Final = 0.5  # of an item with all words, beside a cosine of at most 1; of half, 1/8
WORK_ON_LOOP: Final = 65_536  # rows and entries of words; looking at more takes over 0.5 ms
MATCHED_AT_MOST: Final = 1_000  # the best by their words; more compete by vectors alone


async def search(
    query: ItemQuery, space: ServingSpace, embedding: EmbeddingClient, deadline: Deadline
) -> SimilarItems:
    """Make the list. Raises BadRecord for an unreadable picture, or Unavailable.

    A text is answered by the words of items alone where there is no vector for it within its share
    of the time.
    """
    catalogue = space.catalogue
    within_s = deadline.share_s(degraded.QUERY_SHARE) if query.text else deadline.left_s()
    encoding = embedding.encode(catalogue.space, within_s, text=query.text, image=query.image)
    try:
        vector = (await deadline.waiting(encoding)).vector
    except Unavailable:
        if not query.text:
            raise
        deadline.leave_out(degraded.QUERY_VECTOR_UNAVAILABLE)
        vector = np.zeros(catalogue.dim, np.float32)
    mask = await allowed(query, space, deadline)
    near = await nearest_rows(vector, query, mask, space, deadline)
    found = space.words.look_up(words_of(query.text))
    if found.work <= WORK_ON_LOOP:
        shares, matched = _matched(found, mask)
    else:
        shares, matched = await deadline.waiting(asyncio.to_thread(_matched, found, mask))
    rows = np.union1d(near, matched)
    if not len(rows):
        return nothing("content", "words")
    parts = {
        "content": cosines(rows, vector, catalogue),
        "words": WORDS_WEIGHT * shares[rows] ** 2,
    }
    return ordered(rows, parts, catalogue, query.k, above=ALIKE_FROM if vector.any() else 0)


def _matched(found: LabelLookUp, mask: Mask) -> tuple[Floats, Rows]:
    """Return the share of the words that each allowed item has, (c,), and the best of those rows.

    mask: (c,) the allowed rows.
    """
    shares = shares_of(found)[: len(mask)] * mask
    matched = np.flatnonzero(shares)
    if len(matched) > MATCHED_AT_MOST:
        matched = matched[np.argpartition(-shares[matched], MATCHED_AT_MOST)[:MATCHED_AT_MOST]]
    return shares, matched
