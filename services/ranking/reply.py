"""Write replies: rows become ids, titles, reasons and contributions. Pure.

Legend: k items of the list; m liked items of the user; p contributions.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from freshet.contract.users import User, user_message
from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import state_pb2
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import sources
from services.ranking.stages.blend import PARTS, Ranked
from services.ranking.stages.features import recency
from services.ranking.stages.float16 import to_float32
from services.ranking.stages.reasons import (
    BY_LIKENESS,
    PINNED,
    Facts,
    LikedTitle,
    Reasons,
    lifted_by,
)
from services.ranking.stages.recommendation import RankingInput, Recommendation
from services.ranking.stages.similar_items import SimilarItems
from services.ranking.stages.sources import BIT
from shared.bundles.candidates import FeatureColumn
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
        items=items_of(recommendation.listed, recommendation, space, explain=user.query.explain),
        request_id=user.query.request_id or new_request_id(),
        degraded=deadline.degraded,
        versions=space.versions(),
        state_position=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in user.positions
        ],
    )


def new_request_id() -> str:
    """Return an id for a request whose caller gave it none."""
    return uuid.uuid4().hex


def timings(deadline: Deadline) -> list[pb.StageTiming]:
    """Return how long each stage took until now."""
    return [pb.StageTiming(stage=stage, ms=took_s * 1e3) for stage, took_s in deadline.timings]


def items_of(
    listed: Ranked, recommendation: Recommendation, space: ServingSpace, *, explain: bool
) -> list[pb.RankedItem]:
    """Return some items of a list in order; explain: with what their scores are made of."""
    if not len(listed.rows):
        return []
    catalogue, user = space.catalogue, recommendation.input
    weights = space.fallback.weights  # reasons speak of the blend's parts, whoever ranked
    parts = listed.features[:, : len(PARTS)] * weights
    ranked = recommendation.ranked.features if len(recommendation.ranked.rows) else listed.features
    usual = ranked[:, : len(PARTS)].mean(axis=0) * weights
    lifted = lifted_by(parts, usual, listed.features[:, FeatureColumn.FRESHNESS])
    reasons = Reasons(
        [
            LikedTitle(catalogue.titles[like.row] or catalogue.ids[like.row], like.type)
            for like in user.profile.liked
        ]
    )
    by_part = [
        FeatureColumn.NEW if proposed & BIT["new_place"] else part
        for proposed, part in zip(listed.proposed.tolist(), lifted, strict=True)
    ]
    facts = _facts(set(by_part), listed, user, catalogue)
    places = zip(listed.rows.tolist(), listed.proposed.tolist(), by_part, facts, strict=True)
    numbers, ranks = np.nonzero(listed.rows[:, None] == recommendation.ranked.rows)
    rank_of = dict(zip(numbers.tolist(), ranks.tolist(), strict=True))
    items = []
    for number, (row, proposed, part, said) in enumerate(places):
        items.append(
            pb.RankedItem(
                item_id=catalogue.ids[row],
                score=listed.scores[number],
                sources=sources.names_of(proposed),
                reason=PINNED if proposed & BIT["pin"] else reasons.of(part, said),
                title=catalogue.titles[row],
                contributions=_contributions(listed, number) if explain else None,
                rank=rank_of.get(number),
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
    sent: Mapping[int, str] = {},
    full: Sequence[str] = (),
    user: User | None = None,
) -> state_pb2.UserState:
    """Return a state with ids instead of keys.

    sent: ids by key of items that the catalogue lacks; what neither has shows as `key:HEX`.
    full: the names of the lists that are. user: what the shop says of the user.
    """
    history = state.history
    ids = _ids_of(history["item"].tolist(), catalogue, sent)
    rows = catalogue.rows(history["item"]).tolist()
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
                title=catalogue.titles[row] if row >= 0 else "",
            )
            for item_id, row, entry in zip(ids, rows, history, strict=True)
        ],
        space=state.space,
        session_vector=[] if session is None else session.tolist(),
        long_term_vector=[] if long_term is None else long_term.tolist(),
        interests=[state_pb2.InterestVector(vector=vector) for vector in state.interests.tolist()],
        excluded=_ids_of(state.excluded, catalogue, sent),
        disliked=_ids_of(state.disliked, catalogue, sent),
        purchased=_ids_of(state.purchased, catalogue, sent),
        full=full,
        offsets=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in sorted(state.guard.items())
        ],
        forgotten_at_ms=state.forgotten_at_ms,
        user=None if user is None else user_message(user),
    )


def _contributions(listed: Ranked, rank: int) -> list[pb.Contribution]:
    """Return what one item's score is made of; the values sum to it bit for bit."""
    parts = zip(listed.part_names, listed.parts[rank].tolist(), strict=True)
    shown = [pb.Contribution(name=name, value=value) for name, value in parts if value]
    for name, added in listed.rules:
        if added[rank]:
            shown.append(pb.Contribution(name=f"rule:{name}", value=added[rank]))
    return shown


def _facts(
    parts: set[int], listed: Ranked, user: RankingInput, catalogue: Catalogue
) -> list[Facts]:
    """Return what can be said of each item of a list whose reasons are of these parts alone."""
    nothing: list[list[float]] = [[]] * len(listed.rows)
    alike = followed = towered = nothing
    trending = [""] * len(listed.rows)
    if parts & BY_LIKENESS:
        alike = _alike(listed, user, catalogue.vectors)
    if FeatureColumn.COVISITS in parts:
        followed = _followed(listed, user, catalogue)
    if FeatureColumn.TOWER in parts and catalogue.tower_vectors is not None:
        towered = _alike(listed, user, catalogue.tower_vectors)
    if FeatureColumn.TRENDING in parts:
        values = zip(listed.rows.tolist(), listed.features, strict=True)
        trending = [_trending_in(row, of_row, user) for row, of_row in values]
    return [Facts(*each) for each in zip(alike, followed, trending, towered, strict=True)]


def _alike(listed: Ranked, user: RankingInput, vectors: NDArray[np.float16]) -> list[list[float]]:
    """Return the cosines of the list's items to the liked ones, (k, m); vectors: by row, (c, d)."""
    liked = vectors.take(np.array([like.row for like in user.profile.liked], np.int64), axis=0)
    cosines: list[list[float]] = (
        to_float32(vectors.take(listed.rows, axis=0)) @ to_float32(liked).T
    ).tolist()
    return cosines


def _followed(listed: Ranked, user: RankingInput, catalogue: Catalogue) -> list[list[float]]:
    """Return how surely the list's items follow the liked ones, as they count, (k, m)."""
    numbers = {int(key): number for number, key in enumerate(catalogue.keys[listed.rows])}
    followed = [[0.0] * len(user.profile.liked) for _ in numbers]
    for rank, like in enumerate(user.profile.liked):
        followers = user.signals.covisits.get(like.key)
        if followers is None or not len(followers.keys):
            continue
        weights = np.exp2(followers.scores - followers.scores[0])
        shares = (weights * (recency(rank) / weights.sum())).tolist()
        for key, share in zip(followers.keys.tolist(), shares, strict=True):
            if key in numbers:
                followed[numbers[key]][rank] = share
    return followed


def _trending_in(row: int, values: NDArray[np.float32], user: RankingInput) -> str:
    """Return the category or segment where an item is strongest; empty where that is all."""
    everywhere = values[FeatureColumn.TRENDING_ALL]
    in_category = values[FeatureColumn.TRENDING_CATEGORY]
    if values[FeatureColumn.TRENDING_SEGMENT] > max(everywhere, in_category):
        return user.query.segment  # what the shop files a user under is not the page's to say
    if in_category <= everywhere:
        return ""
    shares = {}
    for name, trend in user.trends.categories:
        at = int(np.searchsorted(trend.rows, row))
        if at < len(trend.rows) and trend.rows[at] == row:
            shares[name] = float(trend.share[at])
    return max(shares, key=shares.__getitem__, default="")


def unknown_items(state: UserState, catalogue: Catalogue) -> list[int]:
    """Return the keys in a state whose items the catalogue lacks, each once."""
    keys = dict.fromkeys((*state.history["item"].tolist(), *state.excluded, *state.purchased))
    rows = catalogue.rows(np.array(list(keys), np.uint64)).tolist()
    return [key for key, row in zip(keys, rows, strict=True) if row < 0]


def _ids_of(keys: Sequence[int], catalogue: Catalogue, sent: Mapping[int, str]) -> list[str]:
    rows = catalogue.rows(np.array(keys, np.uint64)).tolist()
    return [
        catalogue.ids[row] if row >= 0 else sent.get(key, f"key:{key:016x}")
        for key, row in zip(keys, rows, strict=True)
    ]
