"""Read what a list begins with: the users' states, and what others did with what they like.

What is unavailable within its share of the deadline is left out and named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from freshet.contract.position_tokens import PositionToken
from freshet.errors import Unavailable
from services.ranking.live.state_reader import UserStates
from services.ranking.requests import RecommendQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.stages import degraded
from services.ranking.stages.features import covisited, trends_for
from services.ranking.stages.recommendation import RankingInput
from services.ranking.stages.signals import Signals, Weighted
from services.ranking.stages.user_profile import UserProfile, merged, profile_of
from shared.runtime.deadline import Deadline
from shared.users import keys, states
from shared.users.states import UserState

AFTER_POLL_S: Final = 0.002
AFTER_SHARE: Final = 0.5  # of the deadline, at most, goes into waiting for a position


async def read_input(
    query: RecommendQuery, space: ServingSpace, deadline: Deadline
) -> RankingInput:
    """Read all that a list is made from beside the catalogue."""
    users = (await read_states(query.users, query.after, space, deadline)).states
    catalogue, now_ms = space.catalogue, space.now_ms()
    state = merged(users, catalogue, space.vectors)
    profile = profile_of(state, catalogue, space.offers.terms.price, space.vectors)
    signals = await _read_signals(profile, query.segment, space, deadline)
    return RankingInput(
        query,
        now_ms,
        profile,
        signals,
        covisited(profile, signals, catalogue, now_ms, space.features),
        trends_for(profile, query.segment, space.trend_rows.of(signals.trending)),
        _positions(users),
    )


async def read_states(
    users: Sequence[str], after: PositionToken | None, space: ServingSpace, deadline: Deadline
) -> UserStates:
    """Read states, waiting for a position where one is asked for."""
    read: UserStates | None
    partition = None if after is None else after.partition
    wait_until_s = time.monotonic() + AFTER_SHARE * deadline.left_s()
    while True:
        try:
            timeout_s = deadline.share_s(degraded.STATE_SHARE)
            read = await deadline.waiting(space.reader.states(users, timeout_s, partition))
        except Unavailable:
            read = None
        if read and (after is None or _reached(after, read)):
            return read
        in_time = time.monotonic() + AFTER_POLL_S < wait_until_s
        if after is None or not in_time or space.reader.broken:
            break
        await deadline.waiting(asyncio.sleep(AFTER_POLL_S))
    if after is not None:
        deadline.leave_out(degraded.AFTER_TIMEOUT)
    if read is None:
        deadline.leave_out(degraded.STATE_UNAVAILABLE)
        read = UserStates([states.empty()] * len(users), [False] * len(users), -1)
    return read


async def _read_signals(
    profile: UserProfile, segment: str, space: ServingSpace, deadline: Deadline
) -> Signals:
    """Read the co-visits of what was visited, and scopes that the local copy of trending lacks."""
    now_s, trending = time.monotonic(), space.trending
    scopes = [keys.category_scope(name) for name, _ in profile.categories]
    if segment:
        scopes.append(keys.segment_scope(segment))
    missing = trending.missing(scopes, now_s)
    if trending.stale(now_s):
        deadline.leave_out(degraded.TRENDING_STALE)
    visited = profile.visited
    covisits: dict[int, Weighted] = {}
    if visited or missing:
        try:
            timeout_s = deadline.share_s(degraded.SIGNALS_SHARE)
            followers, read = await deadline.waiting(space.reader.sets(visited, missing, timeout_s))
            covisits = dict(zip(visited, followers, strict=True))
            for (scope, _), items in zip(missing, read, strict=True):
                trending.put(scope, items)
        except Unavailable:
            deadline.leave_out(degraded.COVISITS_UNAVAILABLE)
    return Signals(covisits, trending.scopes)


def _reached(after: PositionToken, read: UserStates) -> bool:
    """Say whether an event's effect is in the states: by their guards or the whole partition's."""
    guards = [state.guard.get(after.partition, -1) for state in read.states]
    return max(read.applied, *guards) >= after.offset


def _positions(users: Sequence[UserState]) -> list[PositionToken]:
    furthest: dict[int, int] = {}
    for state in users:
        for partition, offset in state.guard.items():
            furthest[partition] = max(offset, furthest.get(partition, -1))
    return [PositionToken(*entry) for entry in sorted(furthest.items())]
