"""Tell events to the functions that serve, and ask them for lists, without a server."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from freshet.contract.events import Event
from freshet.v1 import recommender_pb2 as pb
from services.cli.replay.replay import (
    COVISITS,
    COVISITS_PART,
    DAY_ZERO,
    SERVED_AT_MOST,
    Question,
    by_worth,
)
from services.ranking import requests
from services.ranking.live.state_reader import MemoryReader
from services.ranking.live.trending import LocalTrending
from services.ranking.models.serving_models import ServingModels
from services.ranking.recommend import recommend
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from services.sessions.fold.fold import FoldEvent, fold_many
from services.sessions.fold.settings import FoldSettings
from services.training.live.bounded_set import BoundedSet
from shared.catalogue.catalogue import Catalogue
from shared.runtime.deadline import Costs, Deadline
from shared.users import keys
from shared.users.states import UserState

BATCH_EVENTS: Final = 4_096
WITHIN_S: Final = 60.0  # nothing is left out


class LiveReader(MemoryReader):
    """What Redis holds of the events that were told."""

    def __init__(self) -> None:
        super().__init__()
        self.covisit_sets: dict[int, BoundedSet] = defaultdict(
            lambda: BoundedSet(keys.COVISITS_AT_MOST)
        )
        self.trending_sets: dict[str, BoundedSet] = defaultdict(
            lambda: BoundedSet(keys.TRENDING_AT_MOST)
        )

    def renew(self, items: set[int], scopes: set[str]) -> None:
        """Let readers see what was added to the sets of some items and scopes."""
        self.covisits |= {item: self.covisit_sets[item].heaviest() for item in items}
        self.trending |= {scope: self.trending_sets[scope].heaviest() for scope in scopes}


class Offline:
    """A system in memory: a catalogue, states, sets, and the space that lists are made in."""

    space: ServingSpace

    def __init__(
        self,
        catalogue: Catalogue,
        settings: RankingSettings,
        now_ms: Callable[[], int],
        models: ServingModels | None = None,
    ) -> None:
        """models: what the catalogue's bundle brings for lists."""
        self.reader = LiveReader()
        self.served_as = DAY_ZERO  # what the list as it is served is called from now on
        self._trending = LocalTrending(self.reader)
        self._settings = settings
        self._now_ms = now_ms
        self._told = 0
        self.serve(catalogue, models)

    def serve(self, catalogue: Catalogue, models: ServingModels | None = None) -> None:
        """Make lists over a catalogue from now on, of whatever space; what was told stays told."""
        self.space = ServingSpace.build(
            catalogue,
            self.reader,
            self._settings,
            trending=self._trending,
            ranker=None if models is None else models.ranker,
            tower=None if models is None else models.tower,
            now_ms=self._now_ms,
        )

    @property
    def states(self) -> dict[str, UserState]:
        """The states of all users, by id."""
        return self.reader.users

    async def tell(self, events: Sequence[Event]) -> None:
        """See services.cli.replay.replay.Replayed."""
        at_ms, first = self._now_ms(), self._told
        log = [FoldEvent(event, 0, first + n, at_ms) for n, event in enumerate(events)]
        self._told += len(events)
        self.fold(log)
        await self._trending.renew()

    def fold(self, log: Sequence[FoldEvent]) -> None:
        """Fold a piece of the log, and keep what comes of it."""
        items, scopes = set[int](), set[str]()
        for begin in range(0, len(log), BATCH_EVENTS):
            batch = log[begin : begin + BATCH_EVENTS]
            folded = fold_many(self.states, batch, self.space.catalogue, FoldSettings())
            self.states.update(folded.states)
            for chunk in folded.chunks:
                for (item, follower), score in chunk.covisits.items():
                    self.reader.covisit_sets[item].add(follower, score)
                    items.add(item)
                for (scope, item), score in chunk.trends.items():
                    self.reader.trending_sets[scope].add(item, score)
                    scopes.add(scope)
        self.reader.renew(items, scopes)

    async def ask(self, question: Question) -> Mapping[str, Sequence[str]]:
        """See services.cli.replay.replay.Replayed."""
        user_id, exclude, at_ms = question
        served, _ = await self._list(user_id=user_id, exclude=exclude, at_ms=at_ms)
        listed, covisits = await self._list(
            user_id=user_id, k=SERVED_AT_MOST, exclude=exclude, diversity=0.0, at_ms=at_ms
        )
        return {self.served_as: served, COVISITS: by_worth(zip(listed, covisits, strict=True))}

    async def _list(self, **fields: object) -> tuple[list[str], list[float]]:
        """Return a list's items, and what co-visits add to their scores."""
        query = requests.recommend(pb.RecommendRequest(**fields))  # type: ignore[arg-type]
        deadline = Deadline(time.monotonic() + WITHIN_S, time.monotonic, Costs())
        listed = (await recommend(query, self.space, deadline)).listed
        covisits = listed.parts[:, listed.part_names.index(COVISITS_PART)]
        return [self.space.catalogue.ids[row] for row in listed.rows], covisits.tolist()
