"""Read what a list begins with: the users' states, what others did and the tower expects of them.

What is unavailable within its share of the deadline is left out and named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
AFTER_LATER: Final = 0.25  # of what has been waited already, before asking again
AFTER_SHARE: Final = 0.5  # of the deadline, at most, goes into waiting for a position


async def read_input(
    query: RecommendQuery, space: ServingSpace, deadline: Deadline
) -> RankingInput:
    """Read all that a list is made from beside the catalogue."""
    read = await read_states(query.users, query.after, space, deadline)
    users, said = read.states, read.user
    named = (query.segment,) if query.segment else ()
    segments = named if said is None else (*named, *said.all_segments)
    segment = segments[0] if segments else ""
    catalogue, now_ms = space.catalogue, space.now_ms()
    as_of_ms = now_ms if query.at_ms is None else query.at_ms
    state = merged(users, catalogue, space.vectors)
    profile = profile_of(state, catalogue, space.offers.terms.price, space.vectors)
    signals, tower_query = await _read_beside_tower(profile, segment, space, deadline)
    return RankingInput(
        query,
        now_ms,
        as_of_ms,
        profile,
        signals,
        covisited(profile, signals, catalogue, as_of_ms, space.features),
        trends_for(profile, segment, space.trend_rows.of(signals.trending)),
        _positions(users),
        segments,
        {} if said is None else said.features,
        tower_query,
    )


async def read_states(
    users: Sequence[str], after: PositionToken | None, space: ServingSpace, deadline: Deadline
) -> UserStates:
    """Read states, of no user even, waiting for a position where one is asked for.

    Raises Overloaded where too many wait for theirs already.
    """
    partition = None if after is None else after.partition

    async def read() -> UserStates | None:
        timeout_s = deadline.share_s(degraded.STATE_SHARE)
        try:
            return await deadline.waiting(space.reader.states(users, timeout_s, partition))
        except Unavailable:
            return None

    found = await read()
    if after is not None and not _reached(after, found):
        if not space.reader.broken:
            with deadline.outside():
                found = await _read_until(after, found, read, space, deadline)
        if not _reached(after, found):
            deadline.leave_out(degraded.AFTER_TIMEOUT)
    if found is None:
        deadline.leave_out(degraded.STATE_UNAVAILABLE)
        found = UserStates([states.empty()] * len(users), [False] * len(users))
    return found


async def _read_until(
    after: PositionToken,
    found: UserStates | None,
    read: Callable[[], Awaitable[UserStates | None]],
    space: ServingSpace,
    deadline: Deadline,
) -> UserStates | None:
    """Read again until a position is reached, for so long as it may take. Returns the last read.

    The longer it has taken, the less often it is asked for, so that many who wait in vain ask
    for little.
    """
    began_s = time.monotonic()
    until_s = began_s + AFTER_SHARE * deadline.left_s()
    while not _reached(after, found) and not space.reader.broken:
        now_s = time.monotonic()
        if now_s + AFTER_POLL_S >= until_s:
            break
        pause_s = max(AFTER_POLL_S, AFTER_LATER * (now_s - began_s))
        await asyncio.sleep(min(pause_s, until_s - now_s))
        found = await read()
    return found


async def _read_beside_tower(
    profile: UserProfile, segment: str, space: ServingSpace, deadline: Deadline
) -> tuple[Signals, NDArray[np.float32] | None]:
    """Read what others did, and meanwhile ask the session tower, where there is one."""
    if space.tower is None or not len(profile.chosen):
        return await _read_signals(profile, segment, space, deadline), None
    async with asyncio.TaskGroup() as group:
        signals = group.create_task(_read_signals(profile, segment, space, deadline))
        await asyncio.sleep(0)  # Redis is asked, and works while the tower does
        with deadline.working():
            query = await space.tower.query(profile.chosen, deadline)
    return signals.result(), query


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


def _reached(after: PositionToken, read: UserStates | None) -> bool:
    """Say whether an event's effect is in the states: by their guards or the whole partition's."""
    if read is None:
        return False
    guards = [state.guard.get(after.partition, -1) for state in read.states]
    return max((read.applied, *guards)) >= after.offset


def _positions(users: Sequence[UserState]) -> list[PositionToken]:
    furthest: dict[int, int] = {}
    for state in users:
        for partition, offset in state.guard.items():
            furthest[partition] = max(offset, furthest.get(partition, -1))
    return [PositionToken(*entry) for entry in sorted(furthest.items())]
