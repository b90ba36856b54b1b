"""Replay a log of events: ask what comes next, score it, then tell it.

What is asked and told is the same whether the services answer (online.py) or the functions that
they are made of (tests/bench/offline.py), so their figures may be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from freshet.contract.events import Event
from freshet.contract.requests import EXCLUDE_AT_MOST
from services.cli.replay.scores import Scores, half_of

DAY_ZERO: Final = "day-zero"  # the list as it is served by default
COVISITS: Final = "co-visits"  # what others did next, and nothing else
COVISITS_PART: Final = "covisits"  # what it adds to a score
SERVED_AT_MOST: Final = 500  # items that one part alone orders anew: the largest list


class Question(NamedTuple):
    """A list that is wanted: of whom, without what, and as of when."""

    user_id: str
    exclude: tuple[str, ...]  # what the user has had: the last that a request may name
    at_ms: int


class Replayed(Protocol):
    """A system that is told events and asked for lists."""

    async def tell(self, events: Sequence[Event]) -> None:
        """Return once lists are made of these events, too."""
        ...

    async def ask(self, question: Question) -> Mapping[str, Sequence[str]]:
        """Return lists of items by name, the best first."""
        ...


async def replay(
    events: Sequence[Event],
    items: int,
    system: Replayed,
    *,
    every: int = 1,
    seed: int = 0,
    progress: Callable[[int], None] = lambda told: None,
    at_half: Callable[[], Awaitable[None]] | None = None,
) -> Scores:
    """Tell events in their order and ask before each `every`-th of them.

    items: how many could be listed. seed: chooses which of them are asked about. What a user has
    had before is no question: it is left out of lists. at_half: is waited for once half of the
    events are told, before anything is asked about the others.
    """
    scores = Scores(len(events), items, {})
    had: dict[str, list[str]] = defaultdict(list)
    waiting: list[Event] = []
    for at, event in enumerate(events):
        past = had[event.user_id]
        if at % every == seed % every and event.item_id not in past:
            if waiting:
                await system.tell(waiting)
                waiting = []
            if at_half is not None and at >= half_of(len(events)):
                await at_half()
                at_half = None
            progress(at)
            assert event.time_ms is not None
            question = Question(event.user_id, tuple(past[-EXCLUDE_AT_MOST:]), event.time_ms)
            for name, listed in (await system.ask(question)).items():
                scores.add(name, at, len(past), listed, event.item_id)
        waiting.append(event)
        past.append(event.item_id)
    progress(len(events))
    return scores


def by_worth(listed: Iterable[tuple[str, float]]) -> list[str]:
    """Return the items that one part of their score speaks for, by it alone; else in order.

    listed: items and what the part adds to their scores.
    """
    worth = dict(listed)
    return sorted((item for item in worth if worth[item] > 0), key=lambda item: -worth[item])
