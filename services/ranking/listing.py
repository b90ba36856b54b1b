"""Taste and signals → the list, on arrays of catalogue rows: propose, filter, rank, arrange.

No I/O: catalogue and index are in memory. Rows become ids in services/ranking/reply.py.

Legend: n candidates; k items of the list; p contributions; f features; c rows of the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking import budget
from services.ranking.budget import Budget
from services.ranking.index.index_searcher import WORK, Searcher
from services.ranking.live.filters import ItemFilter
from services.ranking.live.newest import Newest
from services.ranking.live.trend_rows import TrendRows
from services.ranking.requests import RecommendQuery, Seen
from services.ranking.stages import blend, sources
from services.ranking.stages.arrange import Caps, arrange
from services.ranking.stages.features import Covisited, FeatureSettings, Trends, features
from services.ranking.stages.float16 import widened
from services.ranking.stages.ranker import Ranker
from services.ranking.stages.sources import BIT, Candidates
from services.ranking.stages.user_profile import Taste
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.offer_columns import Terms
from shared.users import keys

SPARE: Final = 40  # candidates beyond k, so that diversity and caps have a choice
RANKED_AT_MOST: Final = 2_000  # so many rows of a narrow filter are ranked one and all
WIDER_EACH: Final = 200  # hits of each query over the allowed rows where they are more

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Serving:
    """All that lists are made from, in memory. One event loop changes it."""

    catalogue: Catalogue
    search: Searcher
    newest: Newest
    filter: ItemFilter
    terms: Terms  # prices with offers, by row
    trends: TrendRows
    features: FeatureSettings = FeatureSettings()


class Wish(NamedTuple):
    """One request with all that was read for it."""

    query: RecommendQuery
    taste: Taste
    covisits: Covisited
    trends: Trends
    now_ms: int


class Ranked(NamedTuple):
    """Candidates with their scores, the best first."""

    rows: Rows  # (n,)
    proposed: NDArray[np.int64]  # (n,) bits of sources.BIT
    scores: Floats  # (n,) on the blend's grid
    parts: Floats  # (n, p) contributions of the ranker
    part_names: tuple[str, ...]  # (p,)
    rules: list[tuple[str, Floats]]  # name, what the rule added (n,)
    features: Floats  # (n, f)

    def take(self, order: NDArray[np.int64] | list[int]) -> Ranked:
        """Return some of the candidates in another order."""
        return Ranked(
            self.rows[order],
            self.proposed[order],
            self.scores[order],
            self.parts[order],
            self.part_names,
            [(name, added[order]) for name, added in self.rules],
            self.features[order],
        )


async def make(
    wish: Wish, serving: Serving, ranker: Ranker, fallback: Ranker, time: Budget
) -> Ranked:
    """Make the list: at most k candidates in order."""
    # Both masks are as long as the catalogue is now: while a search is waited for it may grow.
    fitting = serving.filter.allowed(wish.query.filters, wish.now_ms)
    excluded = _excluded(wish, serving.catalogue)
    candidates = _only(await propose(wish, serving, fitting, time), fitting, excluded)
    time.end("candidates")
    if len(candidates.rows) < wish.query.k + SPARE and wish.query.candidates is None:
        candidates = await _widened(candidates, fitting & ~excluded, wish, serving, time)
    time.end("filter")
    ranked = rank(candidates, wish, serving, ranker, fallback, time)
    time.end("rank")
    listed = _arranged(ranked, wish, serving, time)
    if len(listed.rows) < wish.query.k and wish.query.rules.caps:
        roomy = fitting & ~excluded & ~_full(listed, wish, serving)[: len(fitting)]
        candidates = await _widened(candidates, roomy, wish, serving, time)
        ranked = rank(candidates, wish, serving, ranker, fallback, time)
        listed = _arranged(ranked, wish, serving, time)
    time.end("arrange")
    return listed


async def propose(wish: Wish, serving: Serving, fitting: Mask, time: Budget) -> Candidates:
    """Collect what every source proposes; fitting: rows that the filters allow."""
    query, catalogue = wish.query, serving.catalogue
    parts: list[tuple[int, Rows]] = []
    if query.rules.pins:
        parts.append((BIT["pin"], _rows(catalogue, [pin.item_id for pin in query.rules.pins])))
    if query.candidates is not None:
        parts.append((BIT["request"], _rows(catalogue, query.candidates)))
        return sources.together(parts)
    parts.append((BIT["covisits"], sources.covisited(wish.covisits)))
    parts += [(BIT["trending"], rows) for rows in sources.trending(wish.trends)]
    newest, vectors = serving.newest.rows(), serving.newest.vectors()
    parts += [(BIT["new"], rows) for rows in sources.new(wish.taste, newest, vectors)]
    if wish.taste.known and time.affords(WORK, budget.NEAREST_SKIPPED):
        wanted, bits = sources.queries(wish.taste, catalogue)
        found, _ = await serving.search.nearest(wanted, sources.NEAREST_EACH, fitting, time)
        parts += list(zip(bits, found, strict=True))
    return sources.together(parts)


def _excluded(wish: Wish, catalogue: Catalogue) -> Mask:
    """Return which rows of the catalogue the caller or the user's past exclude.

    A pin shows again what was seen, but never what was hidden or is excluded by the caller.
    """
    query, taste = wish.query, wish.taste
    mask = np.zeros(len(catalogue) + 1, np.bool_)  # the last place is for rows that are -1
    if query.seen != Seen.INCLUDE:
        mask[taste.purchased] = True
    if query.seen == Seen.EXCLUDE_HISTORY_AND_PURCHASES:
        mask[taste.history] = True
    if query.rules.pins:
        mask[_rows(catalogue, [pin.item_id for pin in query.rules.pins])] = False
    mask[taste.hidden] = True
    if query.exclude:
        mask[_rows(catalogue, query.exclude)] = True
    return mask[:-1]


def _only(candidates: Candidates, fitting: Mask, excluded: Mask) -> Candidates:
    """Return the candidates that fit and are not excluded."""
    kept = fitting[candidates.rows] & ~excluded[candidates.rows]
    return Candidates(candidates.rows[kept], candidates.proposed[kept])


async def _widened(
    candidates: Candidates, mask: Mask, wish: Wish, serving: Serving, time: Budget
) -> Candidates:
    """Add what else a mask allows: all of it, or where that is much, the nearest and the newest."""
    rows = np.flatnonzero(mask)
    proposed = candidates.proposed
    parts = [(int(bits), candidates.rows[proposed == bits]) for bits in np.unique(proposed)]
    if len(rows) > RANKED_AT_MOST:
        if wish.taste.known:
            wanted, _ = sources.queries(wish.taste, serving.catalogue)
            found, _ = await serving.search.nearest(wanted, WIDER_EACH, mask, time)
            parts.append((BIT["filter"], found))
        arrived = serving.catalogue.arrived_ms[rows]
        rows = rows[np.argpartition(arrived, -RANKED_AT_MOST // 2)[-RANKED_AT_MOST // 2 :]]
    return sources.together([*parts, (BIT["filter"], rows)])


def rank(
    candidates: Candidates,
    wish: Wish,
    serving: Serving,
    ranker: Ranker,
    fallback: Ranker,
    time: Budget,
) -> Ranked:
    """Score candidates and apply the boosts; the best first, of equals the newest."""
    catalogue = serving.catalogue
    rows = candidates.rows
    table = features(
        wish.taste,
        wish.covisits,
        wish.trends,
        catalogue,
        serving.terms.price,
        rows,
        wish.now_ms,
        serving.features,
    )
    ranker, parts = _scored(table, ranker, fallback, time)
    factors = [
        (boost.factor, serving.filter.matches(boost.match, rows, wish.now_ms))
        for boost in wish.query.rules.boosts
    ]
    scores, added = blend.boosted(parts.sum(axis=1), factors)
    rules = [
        (boost.name, extra) for boost, extra in zip(wish.query.rules.boosts, added, strict=True)
    ]
    order = np.lexsort((catalogue.arrived_ms[rows], scores))[::-1]
    ranked = Ranked(rows, candidates.proposed, scores, parts, tuple(ranker.parts), rules, table)
    return ranked.take(order)


def _scored(table: Floats, ranker: Ranker, fallback: Ranker, time: Budget) -> tuple[Ranker, Floats]:
    """Score with the ranker, or with the fallback where that fails or there is no time for it."""
    if ranker is fallback or not len(table):
        return fallback, fallback.score(table)
    if time.affords("rank", budget.RANKER_SKIPPED):
        try:
            return ranker, ranker.score(table)
        except ValueError:
            time.leave_out(budget.RANKER_FAILED)
    return fallback, fallback.score(table)


def _arranged(ranked: Ranked, wish: Wish, serving: Serving, time: Budget) -> Ranked:
    """Put ranked candidates in the list's order: pins, diversity, caps."""
    query, catalogue = wish.query, serving.catalogue
    diversity = query.diversity
    if diversity and not time.affords("arrange", budget.DIVERSITY_SKIPPED):
        diversity = 0.0
    pins = {}
    for pin in query.rules.pins:
        found = np.flatnonzero(ranked.rows == catalogue.row(pin.item_id))
        if len(found):
            pins[pin.position] = int(found[0])
    caps = None
    if query.rules.caps:
        limits = {cap.category: cap.at_most for cap in query.rules.caps}
        caps = Caps(limits, [catalogue.categories[row] for row in ranked.rows.tolist()])
    vectors = catalogue.vectors
    return ranked.take(
        arrange(
            ranked.scores,
            lambda places: widened(vectors.take(ranked.rows[places], axis=0)),
            query.k,
            diversity,
            pins,
            caps,
        )
    )


def _full(listed: Ranked, wish: Wish, serving: Serving) -> Mask:
    """Return which rows of the catalogue carry a category that is full in a list."""
    limits = {cap.category: cap.at_most for cap in wish.query.rules.caps}
    counts: dict[str, int] = {}
    for row in listed.rows.tolist():
        for name in set(serving.catalogue.categories[row]):
            counts[name] = counts.get(name, 0) + 1
    full = [name for name, n in counts.items() if n >= limits.get(name, limits.get("", n + 1))]
    sets = serving.catalogue.category_sets
    found: Mask = sets.any_of(full)[sets.ids[: len(serving.catalogue)]]
    return found


def _rows(catalogue: Catalogue, item_ids: Sequence[str]) -> Rows:
    """Return the rows of items; unknown ones are left out."""
    wanted = np.array([keys.item_key(item_id) for item_id in item_ids], np.uint64)
    rows = catalogue.rows(wanted)
    return rows[rows >= 0]
