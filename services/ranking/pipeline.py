"""A checked request → the list: read state and signals within the budget, then make the list.

What cannot be had in time is left out and named; a list always comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from freshet.contract.position_tokens import PositionToken
from services.ranking import budget, listing
from services.ranking.budget import Budget
from services.ranking.listing import Ranked, Serving, Wish
from services.ranking.live.local_trending import LocalTrending
from services.ranking.live.state_reader import Found, Reader, Unavailable
from services.ranking.requests import RecommendQuery
from services.ranking.stages.features import covisited, trends_for
from services.ranking.stages.ranker import Ranker
from services.ranking.stages.signals import Signals, Weighted
from services.ranking.stages.user_profile import Taste, merged, taste_of
from shared.users import keys, states
from shared.users.session_vectors import VectorSettings
from shared.users.states import UserState

AFTER_POLL_S: Final = 0.002
AFTER_SHARE: Final = 0.5  # of the deadline, at most, goes into waiting for a position


class Made(NamedTuple):
    """A list with all that its reply tells of it."""

    listed: Ranked
    wish: Wish
    signals: Signals
    positions: list[PositionToken]  # how far the users' partitions are in their states


class Pipeline:
    """Makes lists. One instance serves all requests of an event loop."""

    def __init__(
        self,
        reader: Reader,
        trending: LocalTrending,
        ranker: Ranker,
        fallback: Ranker,
        vectors: VectorSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int],
    ) -> None:
        """fallback: the ranker that needs nothing but its features; may be `ranker` itself."""
        self.ranker = ranker
        self.fallback = fallback
        self._trending = trending
        self._vectors = vectors
        self._clock = clock
        self.reader = reader
        self.now_ms = now_ms

    async def recommend(self, query: RecommendQuery, serving: Serving, spent: Budget) -> Made:
        """Make a list."""
        found = (await self.states(query.users, query.after, spent)).states
        wish, signals = await self.wish(query, found, serving, spent)
        spent.end("state")
        listed = await listing.make(wish, serving, self.ranker, self.fallback, spent)
        return Made(listed, wish, signals, _positions(found))

    async def states(
        self, users: Sequence[str], after: PositionToken | None, spent: Budget
    ) -> Found:
        """Read states, waiting for a position where one is asked for."""
        found: Found | None
        partition = None if after is None else after.partition
        wait_until_s = self._clock() + AFTER_SHARE * spent.left_s()
        while True:
            try:
                asked = self.reader.states(users, spent.share_s(budget.STATE_SHARE), partition)
                found = await spent.waiting(asked)
            except Unavailable:
                found = None
            if found and (after is None or _reached(after, found.states, found.applied)):
                return found
            in_time = self._clock() + AFTER_POLL_S < wait_until_s
            if after is None or not in_time or self.reader.broken:
                break
            await spent.waiting(asyncio.sleep(AFTER_POLL_S))
        if after is not None:
            spent.leave_out(budget.AFTER_TIMEOUT)
        if found is None:
            spent.leave_out(budget.STATE_UNAVAILABLE)
            found = Found([states.empty()] * len(users), [False] * len(users), -1)
        return found

    async def wish(
        self, query: RecommendQuery, found: Sequence[UserState], serving: Serving, spent: Budget
    ) -> tuple[Wish, Signals]:
        """Read what others did with what the user likes, and put all that is known together."""
        catalogue, now_ms = serving.catalogue, self.now_ms()
        state = merged(found, catalogue, self._vectors)
        taste = taste_of(state, catalogue, serving.terms.price, self._vectors)
        signals = await self._signals(taste, query.segment, spent)
        covisits = covisited(taste, signals, catalogue, now_ms, serving.features)
        trends = trends_for(taste, query.segment, serving.trends.of(signals.trending))
        return Wish(query, taste, covisits, trends, now_ms), signals

    async def _signals(self, taste: Taste, segment: str, spent: Budget) -> Signals:
        now_s = self._clock()
        scopes = [keys.category_scope(name) for name, _ in taste.categories]
        if segment:
            scopes.append(keys.segment_scope(segment))
        missing = self._trending.missing(scopes, now_s)
        if self._trending.stale(now_s):
            spent.leave_out(budget.TRENDING_STALE)
        liked = [like.key for like in taste.liked]
        covisits: dict[int, Weighted] = {}
        if liked or missing:
            try:
                asked = self.reader.sets(liked, missing, spent.share_s(budget.SIGNALS_SHARE))
                followers, trending = await spent.waiting(asked)
                covisits = dict(zip(liked, followers, strict=True))
                for (scope, _), items in zip(missing, trending, strict=True):
                    self._trending.put(scope, items)
            except Unavailable:
                spent.leave_out(budget.COVISITS_UNAVAILABLE)
        return Signals(covisits, self._trending.scopes)


def _reached(after: PositionToken, found: Sequence[UserState], applied: int) -> bool:
    """Say whether an event's effect is in the states: by their guards or the whole partition's."""
    guards = [state.guard.get(after.partition, -1) for state in found]
    return max(applied, *guards) >= after.offset


def _positions(found: Sequence[UserState]) -> list[PositionToken]:
    furthest: dict[int, int] = {}
    for state in found:
        for partition, offset in state.guard.items():
            furthest[partition] = max(offset, furthest.get(partition, -1))
    return [PositionToken(*entry) for entry in sorted(furthest.items())]
