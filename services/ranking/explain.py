"""Explain: one item's score for one user, taken apart."""

from __future__ import annotations

import numpy as np

from freshet.v1 import recommender_pb2 as pb
from services.ranking import listing, reply
from services.ranking.budget import Budget
from services.ranking.engine import Engine
from services.ranking.errors import NotFound, Unanswerable
from services.ranking.requests import ExplainQuery, RecommendQuery
from services.ranking.stages import features
from services.ranking.stages.sources import Candidates


async def explain(query: ExplainQuery, engine: Engine, spent: Budget) -> pb.ExplainResponse:
    """Score the item as a list would, whether or not a list would hold it.

    Raises NotFound for an unknown item, Unanswerable where what the score stands on cannot be read.
    """
    serving = engine.serving
    row = serving.catalogue.row(query.item_id)
    if row < 0:
        raise NotFound(f"item_id {query.item_id!r} is unknown")
    wanted = RecommendQuery(users=(query.user_id,), segment=query.segment, rules=query.rules)
    found = await engine.pipeline.states(wanted.users, None, spent)
    wish, signals = await engine.pipeline.wish(wanted, found.states, serving, spent)
    if spent.degraded:
        raise Unanswerable(f"the score cannot be explained now: {', '.join(spent.degraded)}")
    fitting = serving.filter.allowed(wanted.filters, wish.now_ms)
    proposed = await listing.propose(wish, serving, fitting, spent)
    place = int(np.searchsorted(proposed.rows, row))
    known = place < len(proposed.rows) and proposed.rows[place] == row
    bits = proposed.proposed[place] if known else 0
    candidate = Candidates(np.array([row]), np.array([bits]))
    pipeline = engine.pipeline
    ranked = listing.rank(candidate, wish, serving, pipeline.ranker, pipeline.fallback, spent)
    (item,) = reply.items_of(ranked, wish, signals, serving, engine.blend_weights, explain=True)
    values = zip(features.NAMES, ranked.features[0].tolist(), strict=True)
    return pb.ExplainResponse(
        item=item,
        versions=engine.versions(),
        features=[pb.Feature(name=name, value=value) for name, value in values],
    )
