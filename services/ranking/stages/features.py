"""What the ranker knows of each candidate: one matrix, the same online and offline. Pure.

Everything lies in -1 to 1 unless its line says otherwise; absent is 0. The blend reads the first
columns (blend.PARTS), an ONNX ranker reads all of them, by name.

Legend: n candidates; d dimensions; q query vectors; f features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.blend import PARTS
from services.ranking.stages.float16 import widened
from services.ranking.stages.signals import Signals, Weighted
from services.ranking.stages.user_profile import CONTENT_OF, Taste
from shared.catalogue.catalogue import Catalogue, Items
from shared.users import keys, log2_weights

NAMES: Final = (
    *PARTS,
    "trending_all",  # share of the strongest, square root
    "trending_category",
    "trending_segment",
    "last_item",  # cosine to the newest liked item
    "category_affinity",  # share of the history's positive weight in the item's categories
    "price_log",  # log1p(price): 0 to about 15
    "price_ratio",  # log1p(price) less its mean over what is liked
    "age_days_log",  # log1p(days since arrival): 0 to about 9
    "events_share",  # history's length, of 50
    "idle_hours_log",  # log1p(hours since the last event): 0 to about 9
)

COVISIT_HALF: Final = 0.05  # probability of the next item at which `covisits` reaches one half
COVISIT_PRIOR: Final = 2.0  # weight that an item's co-visits must outweigh to be believed
COVISIT_DECAY: Final = 0.6  # of each item further back; by validation on MovieLens (README)
POPULARITY_OCTAVES: Final = 16.0  # halvings of the strongest item's weight until popularity is 0

Floats = NDArray[np.float32]


class FeatureSettings(NamedTuple):
    """Times, in the units of the contract."""

    covisit_half_life_s: float = 30 * 86_400.0  # as sessions folds them
    freshness_half_life_s: float = 7 * 86_400.0


class Covisited(NamedTuple):
    """Catalogue rows that followed what is liked, ascending, and how surely: 0 to 1."""

    rows: NDArray[np.int64]
    strength: Floats


def covisited(
    taste: Taste, signals: Signals, items: Items, now_ms: int, settings: FeatureSettings
) -> Covisited:
    """Return the probability-like strength of each item that followed one of the last liked ones.

    strength = p / (p + COVISIT_HALF), p = Σ over the liked items, newest first, of
    COVISIT_DECAY^place · w(a → b) / (Σ w(a → ·) + COVISIT_PRIOR).
    """
    found, decays = [], []
    for place, like in enumerate(taste.liked):
        followers = signals.covisits.get(like.key)
        if followers is not None and len(followers.keys):
            found.append(followers)
            decays.append(COVISIT_DECAY**place)
    if not found:
        return Covisited(np.empty(0, np.int64), np.empty(0, np.float32))
    sizes = [len(followers.keys) for followers in found]
    now = (now_ms - log2_weights.EPOCH_MS) / (1000 * settings.covisit_half_life_s)
    weights = np.exp2(np.minimum(np.concatenate([f.scores for f in found]) - now, 60))
    starts = np.cumsum([0, *sizes[:-1]])
    totals = np.add.reduceat(weights, starts) + COVISIT_PRIOR
    chances = weights * np.repeat(np.array(decays) / totals, sizes)
    rows = items.rows(np.concatenate([f.keys for f in found]))
    known = rows >= 0
    distinct, places = np.unique(rows[known], return_inverse=True)
    chance = np.bincount(places, chances[known], len(distinct))
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
    categories: tuple[tuple[str, Trend], ...]
    segment: Trend


def trends_for(taste: Taste, segment: str, of_scope: Callable[[str], Trend]) -> Trends:
    """Collect trending for all, the user's weightiest categories and the request's segment."""
    return Trends(
        of_scope(keys.ALL_SCOPE),
        tuple((name, of_scope(keys.category_scope(name))) for name, _ in taste.categories),
        of_scope(keys.segment_scope(segment)) if segment else NO_TREND,
    )


def features(
    taste: Taste,
    covisits: Covisited,
    trends: Trends,
    catalogue: Catalogue,
    prices: NDArray[np.float64],  # by row, NaN where unknown
    rows: NDArray[np.int64],  # (n,) candidates
    now_ms: int,
    settings: FeatureSettings,
) -> Floats:
    """Return the features of the candidates, (n, f) in the order of NAMES, column by column."""
    table = np.zeros((len(NAMES), len(rows)), np.float32).T
    _put_similarities(table, taste, catalogue, rows)
    age_s = np.maximum(now_ms - catalogue.arrived_ms[rows], 0) / 1000
    fresh = np.exp2(age_s * (-1 / settings.freshness_half_life_s))
    (table[:, _COVISITS],) = _looked_up(rows, covisits.rows, covisits.strength)
    table[:, _FRESHNESS] = fresh
    _put_trends(table, trends, rows)
    # What nobody has met yet has no co-visits: its likeness stands in for them until it has.
    liked = np.maximum(table[:, : _LONG_TERM + 1].max(axis=1), 0)
    table[:, _NEW] = fresh * liked * (1 - table[:, _POPULARITY])
    table[:, _CATEGORY_AFFINITY] = _affinity(taste, catalogue, rows)
    _put_prices(table, taste, prices[rows])
    table[:, _AGE_DAYS_LOG] = np.log1p(age_s / 86_400)
    table[:, _EVENTS_SHARE] = len(taste.history) / 50
    if taste.last_event_s:
        idle_s = max(now_ms / 1000 - taste.last_event_s, 0)
        table[:, _IDLE_HOURS_LOG] = math.log1p(idle_s / 3600)
    return table


def _put_similarities(table: Floats, taste: Taste, items: Items, rows: NDArray[np.int64]) -> None:
    """Fill the columns that are cosines, by one product with all of a user's vectors."""
    last = [like.row for like in taste.liked[:CONTENT_OF]]
    interests, disliked = len(taste.interests), len(taste.disliked)
    if not (taste.known or last or disliked):
        return
    around = items.vectors.take(np.array([*last, *taste.disliked], np.int64), axis=0)
    queries = np.concatenate(
        [taste.session[None], taste.long_term[None], taste.interests, widened(around)]
    )  # (q, d)
    product = widened(items.vectors.take(rows, axis=0)) @ queries.T
    cosines = np.ascontiguousarray(product.T)  # (q, n): maxima over rows of memory are fast
    table[:, _SESSION], table[:, _LONG_TERM] = cosines[:2]
    end = 2
    for column, count in ((_INTERESTS, interests), (_CONTENT, len(last)), (_DISLIKE, disliked)):
        if count:
            table[:, column] = cosines[end : end + count].max(axis=0)
        end += count
    np.maximum(table[:, _DISLIKE], 0, out=table[:, _DISLIKE])
    if last:
        table[:, _LAST_ITEM] = cosines[2 + interests]


def _put_trends(table: Floats, trends: Trends, rows: NDArray[np.int64]) -> None:
    everywhere = trends.all
    table[:, _TRENDING_ALL], table[:, _POPULARITY] = _looked_up(
        rows, everywhere.rows, everywhere.share, everywhere.rank
    )
    for _, trend in trends.categories:
        (share,) = _looked_up(rows, trend.rows, trend.share)
        np.maximum(table[:, _TRENDING_CATEGORY], share, out=table[:, _TRENDING_CATEGORY])
    (table[:, _TRENDING_SEGMENT],) = _looked_up(rows, trends.segment.rows, trends.segment.share)
    table[:, _TRENDING] = table[:, _TRENDING_ALL : _TRENDING_SEGMENT + 1].max(axis=1)


def _put_prices(table: Floats, taste: Taste, prices: NDArray[np.float64]) -> None:
    priced = np.flatnonzero(prices == prices)  # NaN, no price, is not equal to itself
    logs = np.log1p(prices[priced])
    table[priced, _PRICE_LOG] = logs
    if not math.isnan(taste.mean_price_log):
        table[priced, _PRICE_RATIO] = logs - taste.mean_price_log


def _looked_up(rows: NDArray[np.int64], known: NDArray[np.int64], *columns: Floats) -> list[Floats]:
    """Return each column's value of each row, 0 where `known`, ascending, does not hold the row."""
    if not len(known):
        return [np.zeros(len(rows), np.float32)] * len(columns)
    places = known.searchsorted(rows)
    places[places == len(known)] = 0
    held = known[places] == rows
    return [np.where(held, column[places], np.float32(0)) for column in columns]


def _affinity(taste: Taste, catalogue: Catalogue, rows: NDArray[np.int64]) -> Floats:
    """Return the summed shares of the user's categories that each candidate carries."""
    total = np.zeros(len(rows), np.float32)
    sets = catalogue.category_sets
    of_row = sets.ids[rows]
    for name, share in taste.categories:
        total += np.float32(share) * sets.any_of((name,))[of_row]
    return np.minimum(total, np.float32(1))


_COLUMN: Final = {name: number for number, name in enumerate(NAMES)}
_SESSION: Final = _COLUMN["session"]
_INTERESTS: Final = _COLUMN["interests"]
_LONG_TERM: Final = _COLUMN["long_term"]
_COVISITS: Final = _COLUMN["covisits"]
_TRENDING: Final = _COLUMN["trending"]
_NEW: Final = _COLUMN["new"]
_CONTENT: Final = _COLUMN["content"]
_POPULARITY: Final = _COLUMN["popularity"]
_FRESHNESS: Final = _COLUMN["freshness"]
_DISLIKE: Final = _COLUMN["dislike"]
_TRENDING_ALL: Final = _COLUMN["trending_all"]
_TRENDING_CATEGORY: Final = _COLUMN["trending_category"]
_TRENDING_SEGMENT: Final = _COLUMN["trending_segment"]
_LAST_ITEM: Final = _COLUMN["last_item"]
_CATEGORY_AFFINITY: Final = _COLUMN["category_affinity"]
_PRICE_LOG: Final = _COLUMN["price_log"]
_PRICE_RATIO: Final = _COLUMN["price_ratio"]
_AGE_DAYS_LOG: Final = _COLUMN["age_days_log"]
_EVENTS_SHARE: Final = _COLUMN["events_share"]
_IDLE_HOURS_LOG: Final = _COLUMN["idle_hours_log"]
