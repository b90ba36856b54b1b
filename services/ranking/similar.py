"""List items like an item or a picture, by look, text, behaviour, or all of it together."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.contract.requests import By
from freshet.errors import NotFound, Unavailable
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.requests import ItemQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import degraded
from services.ranking.stages.signals import Weighted
from services.ranking.stages.similar_items import (
    ALIKE_FROM,
    Mask,
    SimilarItems,
    by_own_vectors,
    cosines,
    nothing,
    ordered,
)
from shared.catalogue.catalogue import Catalogue
from shared.runtime.deadline import Deadline

NEAREST_AT_LEAST: Final = 100
LIKE: Final = "like"  # a search for one vector, as Costs calls it
COVISITS_WEIGHT: Final = 0.5  # of the strongest follower, beside a cosine of at most 1
EXACT_ON_LOOP: Final = 20_000  # rows; searching more takes over 2 ms and leaves the event loop

_OWN: Final = {By.VISUAL: "visual", By.TEXT: "text"}


async def similar(
    query: ItemQuery, space: ServingSpace, embedding: EmbeddingClient, deadline: Deadline
) -> SimilarItems:
    """Make the list. Raises NotFound, BadRecord for an unreadable picture, or Unavailable."""
    catalogue = space.catalogue
    if query.image:
        encoding = embedding.encode(catalogue.space, deadline.left_s(), image=query.image)
        vectors = await deadline.waiting(encoding)
        if query.by == By.VISUAL:
            return await _by_own(query, vectors.own, space, deadline)
        return await _blended(query, vectors.vector, None, space, deadline)
    row = catalogue.row(query.item_id)
    if row < 0:
        raise NotFound(f"item_id {query.item_id!r} is unknown")
    if query.by in _OWN:
        table = _own_table(query.by, space)
        own = np.empty(0, np.float32) if table is None else table[row].astype(np.float32)
        if not own.any():
            visual = query.by == By.VISUAL
            deadline.leave_out(
                degraded.ITEM_WITHOUT_PICTURE if visual else degraded.ITEM_WITHOUT_TEXT
            )
        return await _by_own(query, own, space, deadline)
    vector = catalogue.vectors[row].astype(np.float32)
    followers = await _followers(row, space, deadline)
    if query.by == By.BEHAVIOUR:
        return await _by_behaviour(query, followers, space, deadline)
    return await _blended(query, vector, followers, space, deadline)


async def allowed(query: ItemQuery, space: ServingSpace, deadline: Deadline) -> Mask:
    """Return which rows may be listed: what fits, less what the caller excludes and asks about.

    As long as the catalogue is now: take it after what has to be waited for.
    """
    mask = (await space.filter.allowed(query.filters, space.now_ms(), deadline)).copy()
    rows = [space.catalogue.row(item_id) for item_id in (*query.exclude, query.item_id)]
    mask[[row for row in rows if row >= 0]] = False
    return mask


async def nearest_rows(
    vector: NDArray[np.float32],
    query: ItemQuery,
    mask: Mask,
    space: ServingSpace,
    deadline: Deadline,
) -> NDArray[np.int64]:
    """Return the allowed rows nearest to a vector of the space, more than will be listed."""
    count = max(NEAREST_AT_LEAST, 2 * query.k)
    near, _ = await space.searcher.nearest(vector[None], count, mask, deadline, work=LIKE)
    rows: NDArray[np.int64] = near[near >= 0]
    return rows


async def _followers(row: int, space: ServingSpace, deadline: Deadline) -> Weighted | None:
    key = int(space.catalogue.keys[row])
    try:
        timeout_s = deadline.share_s(degraded.SIGNALS_SHARE)
        (followers,), _ = await deadline.waiting(space.reader.sets([key], [], timeout_s))
    except Unavailable:
        deadline.leave_out(degraded.COVISITS_UNAVAILABLE)
        return None
    return followers


async def _by_own(
    query: ItemQuery, own: NDArray[np.float32], space: ServingSpace, deadline: Deadline
) -> SimilarItems:
    mask = await allowed(query, space, deadline)
    name, table = _OWN[query.by], _own_table(query.by, space)
    search = partial(by_own_vectors, name, table, own, mask, query.k, space.catalogue)
    if np.count_nonzero(mask) <= EXACT_ON_LOOP:
        return search()
    return await deadline.waiting(asyncio.to_thread(search))


def _own_table(by: By, space: ServingSpace) -> NDArray[np.float16] | None:
    catalogue = space.catalogue
    return catalogue.image_vectors if by == By.VISUAL else catalogue.text_vectors


async def _by_behaviour(
    query: ItemQuery, followers: Weighted | None, space: ServingSpace, deadline: Deadline
) -> SimilarItems:
    mask = await allowed(query, space, deadline)
    rows, strength = _strength(followers, mask, space.catalogue)
    if not len(rows):
        return nothing("covisits")
    return ordered(rows, {"covisits": strength}, space.catalogue, query.k)


async def _blended(
    query: ItemQuery,
    vector: NDArray[np.float32],
    followers: Weighted | None,
    space: ServingSpace,
    deadline: Deadline,
) -> SimilarItems:
    mask, catalogue = await allowed(query, space, deadline), space.catalogue
    followed, strength = _strength(followers, mask, catalogue)
    rows = np.union1d(await nearest_rows(vector, query, mask, space, deadline), followed)
    if not len(rows):
        return nothing("content", "covisits")
    behaviour = np.zeros(len(rows), np.float32)
    behaviour[np.searchsorted(rows, followed)] = COVISITS_WEIGHT * strength
    parts = {"content": cosines(rows, vector, catalogue), "covisits": behaviour}
    return ordered(rows, parts, catalogue, query.k, above=ALIKE_FROM)


def _strength(
    followers: Weighted | None, mask: Mask, catalogue: Catalogue
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the allowed followers' rows and their weights as shares of the strongest's root."""
    if followers is None or not len(followers.keys):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = catalogue.rows(followers.keys)
    listable = rows >= 0
    listable[listable] = mask[rows[listable]]
    share = np.exp2((followers.scores - followers.scores.max()) / 2)
    return rows[listable], share[listable].astype(np.float32)
