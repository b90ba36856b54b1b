"""Similar: items like an item or a picture, by look, text, behaviour, or all of it together."""

from __future__ import annotations

import asyncio
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking import budget
from services.ranking.budget import Budget
from services.ranking.errors import NotFound
from services.ranking.listing import Serving
from services.ranking.live.embedding_client import Embedding
from services.ranking.live.state_reader import Reader, Unavailable
from services.ranking.requests import By, ItemQuery
from services.ranking.stages.signals import Weighted
from services.ranking.stages.similar_items import (
    Alike,
    Mask,
    by_own_vectors,
    cosines,
    nothing,
    ordered,
)

NEAREST_AT_LEAST: Final = 100
COVISITS_WEIGHT: Final = 0.5  # of the strongest follower, beside a cosine of at most 1
EXACT_ON_LOOP: Final = 20_000  # rows; searching more takes over 2 ms and leaves the event loop

_OWN: Final = {By.VISUAL: "visual", By.TEXT: "text"}


async def similar(
    query: ItemQuery,
    serving: Serving,
    reader: Reader,
    embedding: Embedding,
    spent: Budget,
    now_ms: int,
) -> Alike:
    """Make the list. Raises NotFound, BadRecord for an unreadable picture, or Unanswerable."""
    if query.image:
        asked = embedding.encode(serving.catalogue.space, spent.left_s(), image=query.image)
        found = await spent.waiting(asked)
        mask = allowed(query, serving, now_ms)
        if query.by == By.VISUAL:
            return await _by_own(query, found.own, mask, serving)
        return await _blended(query, found.vector, None, mask, serving, spent)
    row = serving.catalogue.row(query.item_id)
    if row < 0:
        raise NotFound(f"item_id {query.item_id!r} is unknown")
    if query.by in _OWN:
        table = _own_table(query.by, serving)
        own = np.empty(0, np.float32) if table is None else table[row].astype(np.float32)
        if not own.any():
            spent.leave_out(
                budget.ITEM_WITHOUT_PICTURE if query.by == By.VISUAL else budget.ITEM_WITHOUT_TEXT
            )
        return await _by_own(query, own, allowed(query, serving, now_ms), serving)
    vector = serving.catalogue.vectors[row].astype(np.float32)
    followers = await _followers(row, serving, reader, spent)
    mask = allowed(query, serving, now_ms)
    if query.by == By.BEHAVIOUR:
        return _by_behaviour(query, followers, mask, serving)
    return await _blended(query, vector, followers, mask, serving, spent)


def allowed(query: ItemQuery, serving: Serving, now_ms: int) -> Mask:
    """Return which rows may be listed: what fits, less what the caller excludes and asks about.

    As long as the catalogue is now: take it after what has to be waited for.
    """
    mask = serving.filter.allowed(query.filters, now_ms).copy()
    rows = [serving.catalogue.row(item_id) for item_id in (*query.exclude, query.item_id)]
    mask[[row for row in rows if row >= 0]] = False
    return mask


async def _followers(row: int, serving: Serving, reader: Reader, spent: Budget) -> Weighted | None:
    key = int(serving.catalogue.keys[row])
    try:
        limit_s = spent.share_s(budget.SIGNALS_SHARE)
        (followers,), _ = await spent.waiting(reader.sets([key], [], limit_s))
    except Unavailable:
        spent.leave_out(budget.COVISITS_UNAVAILABLE)
        return None
    return followers


async def _by_own(
    query: ItemQuery, own: NDArray[np.float32], mask: Mask, serving: Serving
) -> Alike:
    name, table = _OWN[query.by], _own_table(query.by, serving)
    if np.count_nonzero(mask) <= EXACT_ON_LOOP:
        return by_own_vectors(name, table, own, mask, query.k, serving.catalogue)
    return await asyncio.to_thread(
        by_own_vectors, name, table, own, mask, query.k, serving.catalogue
    )


def _own_table(by: By, serving: Serving) -> NDArray[np.float16] | None:
    catalogue = serving.catalogue
    return catalogue.image_vectors if by == By.VISUAL else catalogue.text_vectors


def _by_behaviour(
    query: ItemQuery, followers: Weighted | None, mask: Mask, serving: Serving
) -> Alike:
    rows, strength = _strength(followers, mask, serving)
    if not len(rows):
        return nothing("covisits")
    return ordered(rows, {"covisits": strength}, serving.catalogue, query.k)


async def _blended(
    query: ItemQuery,
    vector: NDArray[np.float32],
    followers: Weighted | None,
    mask: Mask,
    serving: Serving,
    spent: Budget,
) -> Alike:
    count = max(NEAREST_AT_LEAST, 2 * query.k)
    followed, strength = _strength(followers, mask, serving)
    near, _ = await serving.search.nearest(vector[None], count, mask, spent)
    rows = np.union1d(near[near >= 0], followed)
    if not len(rows):
        return nothing("content", "covisits")
    behaviour = np.zeros(len(rows), np.float32)
    behaviour[np.searchsorted(rows, followed)] = COVISITS_WEIGHT * strength
    parts = {"content": cosines(rows, vector, serving.catalogue), "covisits": behaviour}
    return ordered(rows, parts, serving.catalogue, query.k)


def _strength(
    followers: Weighted | None, mask: Mask, serving: Serving
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the allowed followers' rows and their weights as shares of the strongest's root."""
    if followers is None or not len(followers.keys):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    rows = serving.catalogue.rows(followers.keys)
    kept = rows >= 0
    kept[kept] = mask[rows[kept]]
    share = np.exp2((followers.scores - followers.scores.max()) / 2)
    return rows[kept], share[kept].astype(np.float32)
