"""Tell and ask the running services: events go through Kafka, lists come from ranking."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from freshet import Client, Publisher, RankedItem
from freshet.contract.events import Event
from services.cli.failures import Failed
from services.cli.replay.replay import (
    COVISITS,
    COVISITS_PART,
    DAY_ZERO,
    SERVED_AT_MOST,
    Question,
    by_worth,
)

WITHIN_S: Final = 5.0  # the longest deadline: of each call
AFTER_TIMEOUT: Final = "after_timeout"
TRIES: Final = 12


class Online:
    """A system that runs; whatever is not asked of it keeps running beside."""

    def __init__(self, publisher: Publisher, client: Client, lists: Sequence[str]) -> None:
        """lists: which of DAY_ZERO and COVISITS are asked for."""
        self.served_as = DAY_ZERO  # what the list as it is served is called from now on
        self._publisher = publisher
        self._client = client
        self._lists = lists

    async def tell(self, events: Sequence[Event]) -> None:
        """See Replayed.tell. Raises Failed where sessions does not get there."""
        published = await self._publisher.many(events)
        await asyncio.gather(*map(self._applied, published.positions))

    async def _applied(self, token: str) -> None:
        for _ in range(TRIES):
            reply = await self._client.recommend("probe", k=1, after=token, timeout=WITHIN_S)
            if AFTER_TIMEOUT not in reply.degraded:
                return
        raise Failed(f"sessions has not applied {token} within {TRIES * WITHIN_S:.0f} s")

    async def ask(self, question: Question) -> Mapping[str, Sequence[str]]:
        """See Replayed.ask."""
        user_id, exclude, at_ms = question
        lists: dict[str, Sequence[str]] = {}
        if DAY_ZERO in self._lists:
            served = await self._client.recommend(
                user_id, exclude=exclude, at_ms=at_ms, timeout=WITHIN_S
            )
            lists[self.served_as] = [item.item_id for item in served]
        if COVISITS in self._lists:
            parts = await self._client.recommend(
                user_id,
                k=SERVED_AT_MOST,
                exclude=exclude,
                diversity=0.0,
                explain=True,
                at_ms=at_ms,
                timeout=WITHIN_S,
            )
            lists[COVISITS] = by_worth((item.item_id, _covisits_of(item)) for item in parts)
        return lists

    async def space(self) -> str:
        """Return the vector space that lists are made in now."""
        return (await self._client.recommend("probe", k=1, timeout=WITHIN_S)).versions.space


def _covisits_of(item: RankedItem) -> float:
    return sum(part.value for part in item.contributions if part.name == COVISITS_PART)
