"""Write replies: rows become ids, titles, reasons and contributions. Pure.

Legend: k items of the list; m liked items of the user; p contributions.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import state_pb2
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import reasons, sources
from services.ranking.stages.blend import PARTS, Ranked
from services.ranking.stages.features import FeatureColumn
from services.ranking.stages.float16 import to_float32
from services.ranking.stages.reasons import Facts, LikedTitle
from services.ranking.stages.recommendation import RankingInput, Recommendation
from services.ranking.stages.similar_items import SimilarItems
from services.ranking.stages.sources import BIT
from shared.catalogue.catalogue import Catalogue
from shared.runtime.deadline import Deadline
from shared.users.event_types import EventWeights
from shared.users.states import HAS_VALUE, STARTS_SESSION, UserState

_SIMILAR_REASONS = {
    "visual": "looks like {}",
    "text": "reads like {}",
    "content": "like {}",
    "covisits": "others went on to this from {}",
    "words": "has words of {}",
}


def recommended(
    recommendation: Recommendation, space: ServingSpace, deadline: Deadline
) -> pb.RecommendResponse:
    """Return the reply to Recommend, without what is known at its end: timings and trace."""
    user = recommendation.input
    return pb.RecommendResponse(
        items=items_of(recommendation.listed, user, space, explain=user.query.explain),
        request_id=uuid.uuid4().hex,
        degraded=deadline.degraded,
        versions=space.versions(),
        state_position=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in user.positions
        ],
    )


def timings(deadline: Deadline) -> list[pb.StageTiming]:
    """Return how long each stage took until now."""
    return [pb.StageTiming(stage=stage, ms=took_s * 1e3) for stage, took_s in deadline.timings]


def items_of(
    listed: Ranked, user: RankingInput, space: ServingSpace, *, explain: bool
) -> list[pb.RankedItem]:
    """Return a list's items in order; explain: with what their scores are made of."""
    if not len(listed.rows):
        return []
    catalogue = space.catalogue
    liked = [
        LikedTitle(catalogue.titles[like.row] or catalogue.ids[like.row], like.type)
        for like in user.profile.liked
    ]
    nearest = _nearest(listed, user, catalogue)
    # Reasons speak of the blend's parts, whoever ranked.
    parts = listed.features[:, : len(PARTS)] * space.fallback.weights
    items = []
    for rank, row in enumerate(listed.rows.tolist()):
        proposed = int(listed.proposed[rank])
        if proposed & BIT["pin"]:
            reason = reasons.PINNED
        else:
            covisited = int(parts[rank].argmax()) == FeatureColumn.COVISITS
            facts = Facts(
                liked,
                nearest[rank],
                _followed(row, user, catalogue) if covisited else -1,
                _trending_in(row, listed.features[rank], user),
            )
            reason = reasons.reason(parts[rank], facts)
        items.append(
            pb.RankedItem(
                item_id=catalogue.ids[row],
                score=listed.scores[rank],
                sources=sources.names_of(proposed),
                reason=reason,
                title=catalogue.titles[row],
                contributions=_contributions(listed, rank) if explain else None,
            )
        )
    return items


def similar(listed: SimilarItems, catalogue: Catalogue, query: str) -> list[pb.RankedItem]:
    """Return what is like a query, in order; query: what reasons call it."""
    items = []
    scores = listed.scores
    for rank, row in enumerate(listed.rows.tolist()):
        parts = listed.parts[rank]
        contributions = [
            pb.Contribution(name=name, value=value)
            for name, value in zip(listed.names, parts.tolist(), strict=True)
            if value
        ]
        items.append(
            pb.RankedItem(
                item_id=catalogue.ids[row],
                score=scores[rank],
                sources=[part.name for part in contributions],
                reason=_SIMILAR_REASONS[listed.names[int(parts.argmax())]].format(query),
                title=catalogue.titles[row],
                contributions=contributions,
            )
        )
    return items


def state(
    user_id: str,
    state: UserState,
    catalogue: Catalogue,
    weights: EventWeights,
    *,
    full: Sequence[str] = (),
) -> state_pb2.UserState:
    """Return a state with ids instead of keys; items that the catalogue lacks show as `key:HEX`.

    full: the names of the lists that are.
    """
    history = state.history
    ids = _ids_of(history["item"].tolist(), catalogue)
    session, long_term = state.session, state.long_term
    return state_pb2.UserState(
        user_id=user_id,
        history=[
            state_pb2.HistoryEntry(
                item_id=item_id,
                type=weights.name_of(int(entry["type"]), state.type_names),
                time_ms=int(entry["seconds"]) * 1000,
                value=float(entry["value"]) if entry["flags"] & HAS_VALUE else 0.0,
                starts_session=bool(entry["flags"] & STARTS_SESSION),
            )
            for item_id, entry in zip(ids, history, strict=True)
        ],
        space=state.space,
        session_vector=[] if session is None else session.tolist(),
        long_term_vector=[] if long_term is None else long_term.tolist(),
        interests=[state_pb2.InterestVector(vector=vector) for vector in state.interests.tolist()],
        excluded=_ids_of(state.excluded, catalogue),
        disliked=_ids_of(state.disliked, catalogue),
        purchased=_ids_of(state.purchased, catalogue),
        full=full,
        offsets=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in sorted(state.guard.items())
        ],
        forgotten_at_ms=state.forgotten_at_ms,
    )


def _contributions(listed: Ranked, rank: int) -> list[pb.Contribution]:
    """Return what one item's score is made of; the values sum to it bit for bit."""
    parts = zip(listed.part_names, listed.parts[rank].tolist(), strict=True)
    shown = [pb.Contribution(name=name, value=value) for name, value in parts if value]
    for name, added in listed.rules:
        if added[rank]:
            shown.append(pb.Contribution(name=f"rule:{name}", value=added[rank]))
    return shown


def _nearest(listed: Ranked, user: RankingInput, catalogue: Catalogue) -> list[int]:
    """Return which liked item is most like each of the list, -1 where nothing is liked."""
    if not user.profile.liked:
        return [-1] * len(listed.rows)
    vectors = catalogue.vectors
    liked = to_float32(vectors.take([like.row for like in user.profile.liked], axis=0))
    cosines = to_float32(vectors.take(listed.rows, axis=0)) @ liked.T  # (k, m)
    nearest: list[int] = cosines.argmax(axis=1).tolist()
    return nearest


def _followed(row: int, user: RankingInput, catalogue: Catalogue) -> int:
    """Return the newest liked item that others went on from to this one, or -1."""
    key = catalogue.keys[row]
    for index, like in enumerate(user.profile.liked):
        followers = user.signals.covisits.get(like.key)
        if followers is not None and (followers.keys == key).any():
            return index
    return -1


def _trending_in(row: int, values: NDArray[np.float32], user: RankingInput) -> str:
    """Return the category or segment where an item is strongest; empty where that is all."""
    everywhere = values[FeatureColumn.TRENDING_ALL]
    in_category = values[FeatureColumn.TRENDING_CATEGORY]
    if values[FeatureColumn.TRENDING_SEGMENT] > max(everywhere, in_category):
        return user.query.segment
    if in_category <= everywhere:
        return ""
    shares = {}
    for name, trend in user.trends.categories:
        at = int(np.searchsorted(trend.rows, row))
        if at < len(trend.rows) and trend.rows[at] == row:
            shares[name] = float(trend.share[at])
    return max(shares, key=shares.__getitem__, default="")


def _ids_of(keys: Sequence[int], catalogue: Catalogue) -> list[str]:
    rows = catalogue.rows(np.array(keys, np.uint64)).tolist()
    return [
        catalogue.ids[row] if row >= 0 else f"key:{key:016x}"
        for key, row in zip(keys, rows, strict=True)
    ]
