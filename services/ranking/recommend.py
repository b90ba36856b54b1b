"""Make a list for a user; this file reads downward, as a list is made.

    check    requests.py                     bounds                                    `admit`
    read     live/user_reader.py             the user, and what others did             `state`
    gather   stages/sources.py               about 500 candidates                      `candidates`
    filter   live/filters.py                 what may be listed of them                `filter`
    rank     stages/features.py, blend.py    features, contributions, scores           `rank`
    arrange  stages/arrange.py               pins, diversity, caps                     `arrange`
    reply    reply.py                        ids, titles, reasons                      `answer`

server.py checks and replies; what lies between runs on numpy rows of the catalogue. Each stage
sets its part of one `Recommendation`, from which explain.py tells what became of each candidate.

Legend: n candidates; k items of the list; p contributions; f features; c rows of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import cache, partial
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from freshet.contract.requests import Seen
from freshet.errors import Overloaded
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.user_reader import read_input
from services.ranking.requests import RecommendQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import blend, degraded, new_places, sources
from services.ranking.stages.arrange import Caps, arranged, full_categories, with_pins
from services.ranking.stages.blend import Ranked, Ranker
from services.ranking.stages.features import features
from services.ranking.stages.float16 import to_float32
from services.ranking.stages.recommendation import (
    ARRANGE,
    CANDIDATES,
    FILTER,
    RANK,
    STATE,
    Mask,
    RankingInput,
    Recommendation,
    Rows,
)
from services.ranking.stages.sources import BIT, Candidates
from shared.catalogue.catalogue import Catalogue
from shared.runtime import metrics
from shared.runtime.deadline import Deadline
from shared.users import keys

SPARE: Final = 40  # candidates beyond k, so that diversity and caps have a choice
RANKED_AT_MOST: Final = 2_000  # so many rows of a narrow filter are ranked one and all
WIDER_EACH: Final = 200  # hits of each query over the allowed rows where they are more

NEAREST: Final = "nearest"  # work that is left out where it does not fit, as Costs calls it
RANKER: Final = "ranker"
DIVERSITY: Final = "diversity"
WIDER: Final = "wider"

# Looking a metric up by its labels costs more than counting; the labels are few.
_candidates = cache(metrics.CANDIDATES.labels)


async def recommend(
    query: RecommendQuery, space: ServingSpace, deadline: Deadline
) -> Recommendation:
    """Make a list of at most k items. What there is no time for is left out and named."""
    recommendation = Recommendation(await read_input(query, space, deadline))
    deadline.end(STATE)
    await gather(recommendation, space, deadline)
    deadline.end(CANDIDATES)
    await filter_candidates(recommendation, space, deadline)
    deadline.end(FILTER)
    recommendation.ranked = await rank(
        recommendation.filtered, recommendation.input, space, deadline
    )
    deadline.end(RANK)
    await arrange(recommendation, space, deadline)
    deadline.end(ARRANGE)
    return recommendation


async def gather(recommendation: Recommendation, space: ServingSpace, deadline: Deadline) -> None:
    """Let every source propose candidates."""
    user = recommendation.input
    query, catalogue = user.query, space.catalogue
    # Both masks are as long as the catalogue is now: while a search is waited for it may grow.
    if query.candidates is None:
        recommendation.fitting = await space.filter.allowed(query.filters, user.now_ms, deadline)
    recommendation.exclusions = _exclusions(user, catalogue)
    recommendation.excluded = _mask_of(recommendation.exclusions, len(catalogue))
    proposals: list[tuple[int, Rows]] = []
    if query.rules.pins:
        proposals.append(
            (BIT["pin"], _rows_of((pin.item_id for pin in query.rules.pins), catalogue))
        )
    if query.candidates is not None:
        proposals.append((BIT["request"], _rows_of(query.candidates, catalogue)))
        recommendation.gathered = sources.together(proposals)
        return
    proposals.append((BIT["covisits"], sources.covisited(user.covisits)))
    proposals += [(BIT["trending"], rows) for rows in sources.trending(user.trends)]
    proposals.append((BIT["popular"], sources.popular(user.trends)))
    newest, vectors = space.newest.rows(), space.newest.vectors()
    proposals += [(BIT["new"], rows) for rows in sources.new(user.profile, newest, vectors)]
    if user.profile.known:
        beside_tower = user.tower_query is not None
        queries, bits = sources.queries(user.profile, catalogue, beside_tower=beside_tower)
        nearest = await _nearest(
            NEAREST, queries, sources.NEAREST_EACH, recommendation.fitting, space, deadline
        )
        if nearest is not None:
            proposals += list(zip(bits, nearest, strict=True))
    if user.tower_query is not None and space.tower is not None:
        towered = await space.tower.nearest(user.tower_query, recommendation.fitting, deadline)
        if towered is not None:
            proposals.append((BIT["tower"], towered))
    recommendation.gathered = sources.together(proposals)


async def filter_candidates(
    recommendation: Recommendation, space: ServingSpace, deadline: Deadline
) -> None:
    """Keep what may be listed; where that is little, add what else may be."""
    query, (rows, proposed) = recommendation.input.query, recommendation.gathered
    fitting = (
        recommendation.fitting[rows]
        if query.candidates is None
        else space.filter.matches(query.filters, rows, recommendation.input.now_ms)
    )
    recommendation.passed = fitting & ~recommendation.excluded[rows]
    recommendation.filtered = Candidates(
        rows[recommendation.passed], proposed[recommendation.passed]
    )
    if len(recommendation.filtered.rows) < query.k + SPARE and query.candidates is None:
        more = recommendation.fitting & ~recommendation.excluded
        recommendation.filtered = await _widened(
            recommendation.filtered, more, recommendation.input, space, deadline
        )


async def rank(
    candidates: Candidates, user: RankingInput, space: ServingSpace, deadline: Deadline
) -> Ranked:
    """Score candidates and apply the boosts; the best first, of equals the newest.

    A candidate's score does not depend on which others there are, bit for bit.
    """
    rows = candidates.rows
    boosts = [boost for boost in user.query.rules.boosts if _is_meant(boost, user.segments)]
    table = features(
        user.profile,
        user.covisits,
        user.trends,
        space.catalogue,
        space.offers.terms.price,
        rows,
        user.as_of_ms,
        space.features,
        user.tower_query,
    )
    ranker, parts = _scored(table, user, space, deadline)
    factors = []
    for boost in boosts:
        factors.append((boost.factor, space.filter.matches(boost.match, rows, user.now_ms)))
        await deadline.turn()
    scores, added = blend.boosted(parts.sum(axis=1), factors)
    rules = [(boost.name, extra) for boost, extra in zip(boosts, added, strict=True)]
    order = np.lexsort((space.catalogue.arrived_ms[rows], scores))[::-1]
    ranked = Ranked(rows, candidates.proposed, scores, parts, ranker.parts, rules, table)
    return ranked.take(order)


def _is_meant(boost: pb.BoostRule, segments: tuple[str, ...]) -> bool:
    """Say whether a boost is for a list of these segments."""
    return not boost.segments_any or not set(segments).isdisjoint(boost.segments_any)


async def arrange(recommendation: Recommendation, space: ServingSpace, deadline: Deadline) -> None:
    """Put what ranks best in the list's order; where caps leave it short, look further."""
    _arrange(recommendation, space, deadline)
    query = recommendation.input.query
    short = len(recommendation.listed.rows) < query.k and query.candidates is None
    if short and query.rules.caps:
        sets = space.catalogue.category_sets
        full = full_categories(limits_of(query), _categories(recommendation.listed, space))
        roomy = ~sets.any_of(full)[sets.ids[: len(recommendation.fitting)]]
        more = recommendation.fitting & ~recommendation.excluded & roomy
        candidates = await _widened(
            recommendation.filtered, more, recommendation.input, space, deadline
        )
        recommendation.ranked = await rank(candidates, recommendation.input, space, deadline)
        _arrange(recommendation, space, deadline)


def _exclusions(user: RankingInput, catalogue: Catalogue) -> list[tuple[str, Rows]]:
    """Return the rows that the caller or the user's past keep out, by why; -1 is none.

    A pin shows again what was seen, but never what was hidden or is excluded by the caller.
    """
    query, profile = user.query, user.profile
    seen = [] if query.seen == Seen.INCLUDE else [profile.purchased]
    if query.seen == Seen.EXCLUDE_HISTORY_AND_PURCHASES:
        seen.append(profile.history)
    if query.rules.pins:
        pinned = _rows_of((pin.item_id for pin in query.rules.pins), catalogue)
        seen = [rows[~np.isin(rows, pinned)] for rows in seen]
    exclusions = [("hidden", profile.hidden), *(("seen", rows) for rows in seen)]
    if query.exclude:
        exclusions.append(("exclude", _rows_of(query.exclude, catalogue)))
    return exclusions


def _mask_of(exclusions: list[tuple[str, Rows]], size: int) -> Mask:
    mask = np.zeros(size + 1, np.bool_)  # the last one is for rows of -1
    for _, rows in exclusions:
        mask[rows] = True
    return mask[:-1]


async def _widened(
    candidates: Candidates,
    mask: Mask,
    user: RankingInput,
    space: ServingSpace,
    deadline: Deadline,
) -> Candidates:
    """Add what else a mask allows: all of it, or where that is much, the nearest and the newest."""
    rows = np.flatnonzero(mask)
    proposed = candidates.proposed
    parts = [(int(bits), candidates.rows[proposed == bits]) for bits in np.unique(proposed)]
    if len(rows) > RANKED_AT_MOST:
        if user.profile.known:
            queries, _ = sources.queries(user.profile, space.catalogue)
            nearest = await _nearest(WIDER, queries, WIDER_EACH, mask, space, deadline)
            if nearest is not None:
                parts.append((BIT["filter"], nearest))
        arrived = space.catalogue.arrived_ms[rows]
        rows = rows[np.argpartition(arrived, -RANKED_AT_MOST // 2)[-RANKED_AT_MOST // 2 :]]
    return sources.together([*parts, (BIT["filter"], rows)])


async def _nearest(
    work: str,
    queries: NDArray[np.float32],
    each: int,
    mask: Mask,
    space: ServingSpace,
    deadline: Deadline,
) -> NDArray[np.int64] | None:
    """Return the rows nearest to each query, None where there is no time for that."""
    searcher = space.searcher
    if deadline.affords(searcher.cost_of(work), degraded.NEAREST_SKIPPED):
        within_s = deadline.affordable_s()
        try:
            rows, _ = await searcher.nearest(
                queries, each, mask, deadline, work=work, within_s=within_s
            )
        except (TimeoutError, Overloaded):
            deadline.leave_out(degraded.NEAREST_SKIPPED)
        else:
            return rows
    return None


def _scored(
    table: NDArray[np.float32], user: RankingInput, space: ServingSpace, deadline: Deadline
) -> tuple[Ranker, NDArray[np.float32]]:
    """Score with the ranker, or with the blend where that fails or there is no time for it."""
    ranker, fallback = space.ranker, space.fallback
    if ranker is fallback or not len(table):
        return fallback, fallback.score(table)
    cost = deadline.costs.of(RANKER)
    if deadline.affords(cost, degraded.RANKER_SKIPPED):
        try:
            with deadline.measuring(cost):
                return ranker, ranker.score(table, user.attributes)
        except ValueError:
            deadline.leave_out(degraded.RANKER_FAILED)
    return fallback, fallback.score(table)


def _arrange(recommendation: Recommendation, space: ServingSpace, deadline: Deadline) -> None:
    """Make the list: pins on their positions, diversity and caps, and new items in their places."""
    ranked, query = recommendation.ranked, recommendation.input.query
    vectors = space.catalogue.vectors
    cost, diversity = deadline.costs.of(DIVERSITY), query.diversity
    if diversity and not deadline.affords(cost, degraded.DIVERSITY_SKIPPED):
        diversity = 0.0
    pins = {}
    for pin in query.rules.pins:
        at = np.flatnonzero(ranked.rows == space.catalogue.row(pin.item_id))
        if len(at):
            pins[pin.position] = int(at[0])
    caps = Caps(limits_of(query), _categories(ranked, space)) if query.rules.caps else None
    with deadline.measuring(cost) if diversity else nullcontext():
        order = arranged(
            ranked.scores,
            lambda chosen: to_float32(vectors.take(ranked.rows[chosen], axis=0)),
            query.k,
            diversity,
            pins,
            caps,
        )
    pinned = set(pins.values())
    unpinned = [index for index in order if index not in pinned]
    placed = new_places.placed(
        unpinned,
        ranked.features,
        partial(_may_join, ranked, order, limits_of(query), space),
        lambda index, count: _draw(query.users[0], int(ranked.rows[index]), space, count),
        space.new_share,
    )
    propensity_of = dict(zip(placed.order, placed.propensities, strict=True))
    order = with_pins(placed.order, pins, query.k)
    proposed = ranked.proposed.copy()
    proposed[placed.new] |= BIT["new_place"]
    recommendation.listed = ranked._replace(proposed=proposed).take(order)
    recommendation.propensities = [propensity_of.get(index, 1.0) for index in order]


def _may_join(
    ranked: Ranked,
    order: list[int],
    limits: dict[str, int],
    space: ServingSpace,
    chosen: list[int],
    index: int,
) -> bool:
    """Say whether a new item may join a list: no rule lowers it and no cap is reached."""
    if any(added[index] < 0 for _, added in ranked.rules):
        return False
    categories = space.catalogue.categories
    listed = [categories[row] for row in ranked.rows[[*order, *chosen]].tolist()]
    return not set(full_categories(limits, listed)) & set(categories[ranked.rows[index]])


def _draw(user_id: str, row: int, space: ServingSpace, count: int) -> int:
    """Draw one of some places for an item in a user's list, the same each time."""
    return crc32(f"{user_id}\n{space.catalogue.ids[row]}".encode()) % count


def count_candidates(recommendation: Recommendation) -> None:
    """Let the metrics count the list's candidates, stage by stage."""
    passed = int(np.count_nonzero(recommendation.passed))
    for name, proposed in sources.counts(recommendation.gathered):
        _candidates(CANDIDATES, name).inc(proposed)
    _candidates(FILTER, "removed").inc(len(recommendation.passed) - passed)
    _candidates(FILTER, "added").inc(len(recommendation.filtered.rows) - passed)
    _candidates(RANK, "ranked").inc(len(recommendation.ranked.rows))
    _candidates(ARRANGE, "listed").inc(len(recommendation.listed.rows))


def limits_of(query: RecommendQuery) -> dict[str, int]:
    """Return how many items of each category a list may hold, "" for any other category."""
    return {cap.category.strip(): cap.at_most for cap in query.rules.caps}


def _categories(ranked: Ranked, space: ServingSpace) -> list[tuple[str, ...]]:
    return [space.catalogue.categories[row] for row in ranked.rows.tolist()]


def _rows_of(item_ids: Iterable[str], catalogue: Catalogue) -> Rows:
    """Return the rows of items; unknown ones are left out."""
    item_keys = np.array([keys.item_key(item_id) for item_id in item_ids], np.uint64)
    rows = catalogue.rows(item_keys)
    return rows[rows >= 0]
