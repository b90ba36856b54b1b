"""Explain a list: what each stage proposed, removed or listed, or what became of one item.

Legend: n candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from freshet.errors import NotFound, Unavailable
from freshet.v1 import recommender_pb2 as pb
from services.ranking import reply
from services.ranking.recommend import limits_of, rank, recommend
from services.ranking.requests import ExplainQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import degraded, sources
from services.ranking.stages.arrange import full_categories
from services.ranking.stages.blend import PARTS, Ranked
from services.ranking.stages.recommendation import (
    ARRANGE,
    CANDIDATES,
    FILTER,
    RANK,
    STATE,
    Mask,
    Recommendation,
    Rows,
)
from services.ranking.stages.sources import BIT, Candidates
from shared.bundles.candidates import NAMES
from shared.runtime.deadline import Deadline

NOT_PROPOSED: Final = "not_proposed"
UNKNOWN: Final = "unknown"  # a candidate of the caller's that the catalogue does not hold
DELETED: Final = "deleted"  # while the list was made
LEFT_OUT_BY: Final = {
    STATE: (
        degraded.AFTER_TIMEOUT,
        degraded.STATE_UNAVAILABLE,
        degraded.TRENDING_STALE,
        degraded.COVISITS_UNAVAILABLE,
    ),
    CANDIDATES: (degraded.NEAREST_SKIPPED, degraded.TOWER_SKIPPED, degraded.TOWER_FAILED),
    RANK: (degraded.RANKER_SKIPPED, degraded.RANKER_FAILED),
    ARRANGE: (degraded.DIVERSITY_SKIPPED,),
}


def trace(
    recommendation: Recommendation, space: ServingSpace, deadline: Deadline
) -> list[pb.StageTrace]:
    """Return what each stage did with the candidates, and how long it took."""
    gathered, filtered = len(recommendation.gathered.rows), len(recommendation.filtered.rows)
    passed = int(np.count_nonzero(recommendation.passed))
    proposed = [
        pb.StageStep(name=name, added=added)
        for name, added in sources.counts(recommendation.gathered)
    ]
    removed: Counter[str] = Counter()
    for name, rows in _removals(recommendation.gathered.rows, recommendation, space):
        removed[name] += int(np.count_nonzero(rows & ~recommendation.passed))
    removed[DELETED] = gathered - passed - removed.total()
    removals = [pb.StageStep(name=name, removed=n) for name, n in removed.items() if n]
    stages = {
        CANDIDATES: (gathered, proposed),
        FILTER: (filtered, removals + _added(filtered - passed)),
        RANK: (filtered, []),
        ARRANGE: (
            len(recommendation.listed.rows),
            _added(len(recommendation.ranked.rows) - filtered),
        ),
    }
    traced = []
    for stage, took_s in deadline.timings:
        left_out = [r for r in deadline.degraded if r in LEFT_OUT_BY.get(stage, ())]
        candidates, steps = stages.get(stage, (None, []))
        traced.append(
            pb.StageTrace(
                stage=stage, ms=took_s * 1e3, candidates=candidates, steps=steps, degraded=left_out
            )
        )
    return traced


async def explain(
    query: ExplainQuery, space: ServingSpace, deadline: Deadline
) -> pb.ExplainResponse:
    """Take an item's score apart and say what became of it, by making the list.

    Raises NotFound for an unknown item, Unavailable where what the score stands on cannot be read.
    """
    row = space.catalogue.row(query.item_id)
    if row < 0:
        raise NotFound(f"item_id {query.item_id!r} is unknown")
    recommendation = await recommend(query.listing, space, deadline)
    unread = [reason for reason in deadline.degraded if reason in LEFT_OUT_BY[STATE]]
    if unread:
        raise Unavailable(f"the score cannot be explained now: {', '.join(unread)}")
    scored = recommendation.ranked.take(np.flatnonzero(recommendation.ranked.rows == row))
    if not len(scored.rows):
        proposed = recommendation.gathered.proposed[recommendation.gathered.rows == row]
        alone = Candidates(np.array([row]), np.array([proposed.sum()]))
        scored = await rank(alone, recommendation.input, space, deadline)
    (item,) = reply.items_of(scored, recommendation, space, explain=True)
    others = recommendation.ranked.features[recommendation.ranked.rows != row]
    spread = np.linspace(0, len(others) - 1, min(query.others, len(others))).astype(np.int64)
    return pb.ExplainResponse(
        item=item,
        versions=space.versions(),
        features=_features(scored, space),
        fate=fate_of(row, recommendation, space),
        others=[pb.FeatureRow(values=values) for values in others[spread].tolist()],
    )


def _features(scored: Ranked, space: ServingSpace) -> list[pb.Feature]:
    """Return an item's features, with their weights where the blend scored it."""
    by_blend = scored.part_names is space.fallback.parts
    weights = dict(zip(PARTS, space.fallback.weights.tolist(), strict=True)) if by_blend else {}
    return [
        pb.Feature(name=name, value=value, weight=weights.get(name, 0.0) if by_blend else None)
        for name, value in zip(NAMES, scored.features[0].tolist(), strict=True)
    ]


def fate_of(row: int, recommendation: Recommendation, space: ServingSpace) -> pb.ItemFate:
    """Say whether a list holds a row of the catalogue, and if not, where it fell and why."""
    ranked, listed = recommendation.ranked, recommendation.listed
    fate = _fate(recommendation)
    if row in ranked.rows:
        fate.rank = int(np.flatnonzero(ranked.rows == row)[0])
    if row in listed.rows:
        fate.position = int(np.flatnonzero(listed.rows == row)[0])
    elif fate.HasField("rank"):
        fate.stage, fate.cause = _why_not_listed(fate.rank, row, recommendation, space)
    else:
        (out,) = _removed_by(np.array([row]), recommendation, space)
        fate.stage, fate.cause = (FILTER, out) if out else (CANDIDATES, NOT_PROPOSED)
    return fate


def missing(recommendation: Recommendation, space: ServingSpace) -> list[pb.MissingItem]:
    """Return which of the caller's candidates no larger k would list, and what became of each."""
    query, ranked, listed = recommendation.input.query, recommendation.ranked, recommendation.listed
    if query.candidates is None:
        return []
    rows = np.array([space.catalogue.row(item_id) for item_id in query.candidates], np.int64)
    full = len(listed.rows) == query.k  # then what else was ranked is outranked, no more
    away = ~np.isin(rows, ranked.rows if full else listed.rows)
    fell = rows[away & (rows >= 0) & ~np.isin(rows, ranked.rows)]
    removed_by = dict(zip(fell.tolist(), _removed_by(fell, recommendation, space), strict=True))
    found = []
    for number in np.flatnonzero(away).tolist():
        row = int(rows[number])
        if row in removed_by:
            fate = _fate(recommendation, FILTER, removed_by[row] or DELETED)
        elif row >= 0:
            fate = fate_of(row, recommendation, space)
        else:
            fate = _fate(recommendation, CANDIDATES, UNKNOWN)
        found.append(pb.MissingItem(item_id=query.candidates[number], fate=fate))
    return found


def _why_not_listed(
    rank: int, row: int, recommendation: Recommendation, space: ServingSpace
) -> tuple[str, str]:
    """Return the stage and the cause for which a ranked item is not in the list."""
    query, ranked, listed = recommendation.input.query, recommendation.ranked, recommendation.listed
    pinned = [space.catalogue.row(pin.item_id) for pin in query.rules.pins]
    new = listed.rows[listed.proposed & BIT["new_place"] != 0]
    by_score = np.isin(ranked.rows, listed.rows) & ~np.isin(ranked.rows, [*pinned, *new.tolist()])
    last = int(np.flatnonzero(by_score)[-1]) if by_score.any() else -1
    if rank > last and len(listed.rows) == query.k:  # a shorter list is one that caps left short
        if rank >= query.k:
            return RANK, "score"
        return ARRANGE, "new_places" if rank >= query.k - len(new) else "pins"
    limits = limits_of(query)
    categories = space.catalogue.categories
    full = full_categories(limits, [categories[other] for other in listed.rows.tolist()])
    return ARRANGE, "caps" if set(full) & set(categories[row]) else "diversity"


def _fate(recommendation: Recommendation, stage: str = "", cause: str = "") -> pb.ItemFate:
    listed = recommendation.listed
    return pb.ItemFate(
        stage=stage,
        cause=cause,
        ranked=len(recommendation.ranked.rows),
        lowest_listed_score=listed.scores.min() if len(listed.rows) else 0,
    )


def _removed_by(rows: Rows, recommendation: Recommendation, space: ServingSpace) -> list[str]:
    """Return which filter removes each of some rows first; empty: none does."""
    names = np.full(len(rows), "", object)
    for name, removed in _removals(rows, recommendation, space):
        names[removed] = name
    removed_by: list[str] = names.tolist()
    return removed_by


def _removals(
    rows: Rows, recommendation: Recommendation, space: ServingSpace
) -> Iterator[tuple[str, Mask]]:
    """Yield which of some rows each filter removes of what those before it left, (n,)."""
    user = recommendation.input
    conditions = space.filter.each(user.query.filters, rows, user.now_ms)
    conditions += [(name, ~np.isin(rows, out)) for name, out in recommendation.exclusions]
    left = np.ones(len(rows), np.bool_)
    for name, allowed in conditions:
        yield name, left & ~allowed
        left = left & allowed


def _added(count: int) -> list[pb.StageStep]:
    return [pb.StageStep(name="filter", added=count)] if count else []
