"""Search: items for a text or a picture, by vectors, and for a text by the words of titles too."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.ranking import budget
from services.ranking.budget import Budget
from services.ranking.errors import Unanswerable
from services.ranking.listing import Serving
from services.ranking.live.embedding_client import Embedding
from services.ranking.live.title_words import TitleWords, words_of
from services.ranking.requests import ItemQuery
from services.ranking.similar import allowed
from services.ranking.stages.similar_items import Alike, cosines, nothing, ordered

NEAREST_AT_LEAST: Final = 100
TITLE_WEIGHT: Final = 0.5  # of all words in the title, beside a cosine of at most 1; of half, 1/8
TITLES_AT_MOST: Final = 1_000  # the best by their words; more compete by vectors alone


async def search(
    query: ItemQuery,
    serving: Serving,
    titles: TitleWords,
    embedding: Embedding,
    spent: Budget,
    now_ms: int,
) -> Alike:
    """Make the list. Raises BadRecord for an unreadable picture, or Unanswerable.

    A text is answered by the words of titles alone while there is no vector for it.
    """
    catalogue = serving.catalogue
    asked = embedding.encode(catalogue.space, spent.left_s(), text=query.text, image=query.image)
    try:
        vector = (await spent.waiting(asked)).vector
    except Unanswerable:
        if not query.text:
            raise
        spent.leave_out(budget.QUERY_VECTOR_UNAVAILABLE)
        vector = np.zeros(catalogue.dim, np.float32)
    mask = allowed(query, serving, now_ms)
    count = max(NEAREST_AT_LEAST, 2 * query.k)
    near, _ = await serving.search.nearest(vector[None], count, mask, spent)
    rows = near[near >= 0]
    shares = titles.matched(words_of(query.text))[: len(mask)] * mask
    matched = np.flatnonzero(shares)
    if len(matched) > TITLES_AT_MOST:
        matched = matched[np.argpartition(-shares[matched], TITLES_AT_MOST)[:TITLES_AT_MOST]]
    rows = np.union1d(rows, matched)
    if not len(rows):
        return nothing("content", "title")
    parts = {
        "content": cosines(rows, vector, catalogue),
        "title": TITLE_WEIGHT * shares[rows] ** 2,
    }
    return ordered(rows, parts, catalogue, query.k)
