"""List items for a text or a picture, by vectors, and for a text by the words of items too."""

from __future__ import annotations

from typing import Final

import numpy as np

from freshet.errors import Unavailable
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.live.item_words import words_of
from services.ranking.requests import ItemQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.similar import allowed, nearest_rows
from services.ranking.stages import degraded
from services.ranking.stages.similar_items import (
    ALIKE_FROM,
    SimilarItems,
    cosines,
    nothing,
    ordered,
)
from shared.runtime.deadline import Deadline

WORDS_WEIGHT: Final = 0.5  # of an item with all words, beside a cosine of at most 1; of half, 1/8
MATCHED_AT_MOST: Final = 1_000  # the best by their words; more compete by vectors alone


async def search(
    query: ItemQuery, space: ServingSpace, embedding: EmbeddingClient, deadline: Deadline
) -> SimilarItems:
    """Make the list. Raises BadRecord for an unreadable picture, or Unavailable.

    A text is answered by the words of items alone while there is no vector for it.
    """
    catalogue = space.catalogue
    encoding = embedding.encode(
        catalogue.space, deadline.left_s(), text=query.text, image=query.image
    )
    try:
        vector = (await deadline.waiting(encoding)).vector
    except Unavailable:
        if not query.text:
            raise
        deadline.leave_out(degraded.QUERY_VECTOR_UNAVAILABLE)
        vector = np.zeros(catalogue.dim, np.float32)
    mask = await allowed(query, space, deadline)
    near = await nearest_rows(vector, query, mask, space, deadline)
    shares = space.words.matched(words_of(query.text))[: len(mask)] * mask
    matched = np.flatnonzero(shares)
    if len(matched) > MATCHED_AT_MOST:
        matched = matched[np.argpartition(-shares[matched], MATCHED_AT_MOST)[:MATCHED_AT_MOST]]
    rows = np.union1d(near, matched)
    if not len(rows):
        return nothing("content", "words")
    parts = {
        "content": cosines(rows, vector, catalogue),
        "words": WORDS_WEIGHT * shares[rows] ** 2,
    }
    return ordered(rows, parts, catalogue, query.k, above=ALIKE_FROM if vector.any() else 0)
