"""Describe each candidate to the ranker: one matrix, the same online and offline. Pure.

The blend reads the first columns (blend.PARTS), an ONNX ranker reads all of them, by name
(shared/bundles/candidates.py).

Legend: n candidates; d dimensions; q query vectors; f features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.settings import setting
from services.ranking.stages.float16 import to_float32
from services.ranking.stages.products import products
from services.ranking.stages.signals import Signals, Weighted
from services.ranking.stages.user_profile import CONTENT_OF, UserProfile
from shared.bundles.candidates import NAMES, FeatureColumn
from shared.catalogue.catalogue import Catalogue, Items
from shared.users import keys, log2_weights
from shared.users.log2_weights import HalfLives

DISLIKE_FROM: Final = np.float32(0.5)  # cosine from which an item is like a disliked one
NEW_FROM: Final = np.float32(0.5)  # freshness: an item is new for one half-life
COVISIT_HALF: Final = 0.05  # probability of the next item at which `covisits` reaches one half
COVISIT_PRIOR: Final = 20.0  # weight that an item's co-visits must outweigh; by validation (README)
POPULARITY_OCTAVES: Final = 16.0  # halvings of the strongest item's weight until popularity is 0

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """How fast what features tell of grows old."""

    half_lives: HalfLives = field(default_factory=HalfLives)
    freshness_half_life_s: float = setting(
        "FRESHET_FRESHNESS_HALF_LIFE_S",
        7 * 86_400.0,
        at_least=1,
        help="s until an item is half as new: a week of an assortment",
    )


class Covisited(NamedTuple):
    """Catalogue rows that followed what was visited, ascending, and how surely: 0 to 1."""

    rows: NDArray[np.int64]
    strength: Floats


def recency(rank: int) -> float:
    """Return what an item counts with `rank` others after it: 1, 1/2, 1/3, ... (README)."""
    return 1 / (rank + 1)


def covisited(
    profile: UserProfile, signals: Signals, items: Items, now_ms: int, settings: FeatureSettings
) -> Covisited:
    """Return the probability-like strength of each item that followed one of the last visited.

    strength = p / (p + COVISIT_HALF), p = Σ over the visited items, newest first, of
    recency(rank) · w(a → b) / (Σ w(a → ·) + COVISIT_PRIOR).
    """
    known, recencies = [], []
    for rank, key in enumerate(profile.visited):
        followers = signals.covisits.get(key)
        if followers is not None and len(followers.keys):
            known.append(followers)
            recencies.append(recency(rank))
    if not known:
        return Covisited(np.empty(0, np.int64), np.empty(0, np.float32))
    sizes = [len(followers.keys) for followers in known]
    now = log2_weights.halvings(now_ms, settings.half_lives.covisits_s)
    weights = np.exp2(np.minimum(np.concatenate([f.scores for f in known]) - now, 60))
    starts = np.cumsum([0, *sizes[:-1]])
    totals = np.add.reduceat(weights, starts) + COVISIT_PRIOR
    chances = weights * np.repeat(np.array(recencies) / totals, sizes)
    rows = items.rows(np.concatenate([f.keys for f in known]))
    there = rows >= 0
    distinct, of_row = np.unique(rows[there], return_inverse=True)
    chance = np.bincount(of_row, chances[there], len(distinct))
    return Covisited(distinct, (chance / (chance + COVISIT_HALF)).astype(np.float32))


class Trend(NamedTuple):
    """Catalogue rows of a scope, and what their weights say beside the strongest's."""

    rows: NDArray[np.int64]  # (m,) ascending
    share: Floats  # square root of the weight's share of the strongest's
    rank: Floats  # 1 for the strongest, less with each halving, 0 after POPULARITY_OCTAVES
    strongest: NDArray[np.int64]  # (m,) rows, the strongest first


NO_TREND: Final = Trend(
    np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
)


def trend_of(scope: Weighted, items: Items) -> Trend:
    """Look a scope's items up in the catalogue."""
    rows = items.rows(scope.keys)
    known = rows >= 0
    if not known.any():
        return NO_TREND
    rows, scores = rows[known], scope.scores[known]
    order = np.argsort(rows)
    depth = scores[order] - scores.max()
    return Trend(
        rows[order],
        np.exp2(depth / 2).astype(np.float32),
        np.maximum(1 + depth / POPULARITY_OCTAVES, 0).astype(np.float32),
        rows,
    )


class Trends(NamedTuple):
    """The scopes that matter to one request."""

    all: Trend
    popular: Trend  # of all, over months
    categories: tuple[tuple[str, Trend], ...]
    segment: Trend


def trends_for(profile: UserProfile, segment: str, of_scope: Callable[[str], Trend]) -> Trends:
    """Collect trending for all, the user's weightiest categories and the segment."""
    return Trends(
        of_scope(keys.ALL_SCOPE),
        of_scope(keys.POPULAR_SCOPE),
        tuple((name, of_scope(keys.category_scope(name))) for name, _ in profile.categories),
        of_scope(keys.segment_scope(segment)) if segment else NO_TREND,
    )


def features(
    profile: UserProfile,
    covisits: Covisited,
    trends: Trends,
    catalogue: Catalogue,
    prices: NDArray[np.float64],  # by row, NaN where unknown
    rows: NDArray[np.int64],  # (n,) candidates
    now_ms: int,
    settings: FeatureSettings,
    tower_query: Floats | None = None,  # (t,) of the session tower
) -> Floats:
    """Return the features of the candidates, (n, f) in the order of NAMES, column by column.

    A candidate's are the same whichever others stand beside it, bit for bit.
    """
    table = np.zeros((len(NAMES), len(rows)), np.float32).T
    _put_similarities(table, profile, catalogue, rows)
    towers = catalogue.tower_vectors
    if tower_query is not None and towers is not None:
        (table[:, FeatureColumn.TOWER],) = products(towers, rows, tower_query[None])
    age_s = np.maximum(now_ms - catalogue.arrived_ms[rows], 0) / 1000
    fresh = np.exp2(age_s * (-1 / settings.freshness_half_life_s))
    (table[:, FeatureColumn.COVISITS],) = _looked_up(rows, covisits.rows, covisits.strength)
    table[:, FeatureColumn.FRESHNESS] = fresh
    _put_trends(table, trends, rows)
    table[:, FeatureColumn.NEW] = fresh * likeness(table) * (1 - table[:, FeatureColumn.POPULARITY])
    table[:, FeatureColumn.CATEGORY_AFFINITY] = _affinity(profile, catalogue, rows)
    _put_prices(table, profile, prices[rows])
    table[:, FeatureColumn.AGE_DAYS_LOG] = np.log1p(age_s / 86_400)
    table[:, FeatureColumn.EVENTS_SHARE] = len(profile.history) / 50
    if profile.last_event_s:
        idle_s = max(now_ms / 1000 - profile.last_event_s, 0)
        table[:, FeatureColumn.IDLE_HOURS_LOG] = math.log1p(idle_s / 3600)
    return table


def likeness(table: Floats) -> Floats:
    """Return the largest cosine of each candidate to what is known of the user, (n,), 0 or more."""
    largest: Floats = np.maximum(table[:, : FeatureColumn.LONG_TERM + 1].max(axis=1), 0)
    return largest


def _put_similarities(
    table: Floats, profile: UserProfile, items: Items, rows: NDArray[np.int64]
) -> None:
    """Fill the columns that are cosines, by one product with all of a user's vectors."""
    last = [like.row for like in profile.liked[:CONTENT_OF]]
    interests, disliked = len(profile.interests), len(profile.disliked)
    if not (profile.known or last or disliked):
        return
    around = items.vectors.take(np.array([*last, *profile.disliked], np.int64), axis=0)
    queries = np.concatenate(
        [profile.session[None], profile.long_term[None], profile.interests, to_float32(around)]
    )  # (q, d)
    cosines = products(items.vectors, rows, queries)  # (q, n)
    table[:, FeatureColumn.SESSION], table[:, FeatureColumn.LONG_TERM] = cosines[:2]
    end = 2
    for column, count in (
        (FeatureColumn.INTERESTS, interests),
        (FeatureColumn.CONTENT, len(last)),
        (FeatureColumn.DISLIKE, disliked),
    ):
        if count:
            table[:, column] = cosines[end : end + count].max(axis=0)
        end += count
    # From 0 on, one dislike would speak against its whole category.
    repelled = (table[:, FeatureColumn.DISLIKE] - DISLIKE_FROM) / (1 - DISLIKE_FROM)
    np.maximum(repelled, 0, out=table[:, FeatureColumn.DISLIKE])
    if last:
        table[:, FeatureColumn.LAST_ITEM] = cosines[2 + interests]


def _put_trends(table: Floats, trends: Trends, rows: NDArray[np.int64]) -> None:
    everywhere, popular = trends.all, trends.popular
    (table[:, FeatureColumn.TRENDING_ALL],) = _looked_up(rows, everywhere.rows, everywhere.share)
    (table[:, FeatureColumn.POPULARITY],) = _looked_up(rows, popular.rows, popular.rank)
    for _, trend in trends.categories:
        (share,) = _looked_up(rows, trend.rows, trend.share)
        np.maximum(
            table[:, FeatureColumn.TRENDING_CATEGORY],
            share,
            out=table[:, FeatureColumn.TRENDING_CATEGORY],
        )
    (table[:, FeatureColumn.TRENDING_SEGMENT],) = _looked_up(
        rows, trends.segment.rows, trends.segment.share
    )
    table[:, FeatureColumn.TRENDING] = table[
        :, FeatureColumn.TRENDING_ALL : FeatureColumn.TRENDING_SEGMENT + 1
    ].max(axis=1)


def _put_prices(table: Floats, profile: UserProfile, prices: NDArray[np.float64]) -> None:
    priced = np.flatnonzero(prices == prices)  # NaN, no price, is not equal to itself
    logs = np.log1p(prices[priced])
    table[priced, FeatureColumn.PRICE_LOG] = logs
    if not math.isnan(profile.mean_price_log):
        table[priced, FeatureColumn.PRICE_RATIO] = logs - profile.mean_price_log


def _looked_up(rows: NDArray[np.int64], known: NDArray[np.int64], *columns: Floats) -> list[Floats]:
    """Return each column's value of each row, 0 where `known`, ascending, does not hold the row."""
    if not len(known):
        return [np.zeros(len(rows), np.float32)] * len(columns)
    at = known.searchsorted(rows)
    at[at == len(known)] = 0
    hit = known[at] == rows
    return [np.where(hit, column[at], np.float32(0)) for column in columns]


def _affinity(profile: UserProfile, catalogue: Catalogue, rows: NDArray[np.int64]) -> Floats:
    """Return the summed shares of the user's categories that each candidate carries."""
    total = np.zeros(len(rows), np.float32)
    for name, share in profile.categories:
        total += np.float32(share) * catalogue.category_sets.carrying((name,), rows)
    return np.minimum(total, np.float32(1))
