"""A visitor of the test shop, in the shop's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.publisher import Publisher
from freshet.v1.recommender_pb2 import RecommendRequest, RecommendResponse
from services.cli.demo import catalogue
from services.cli.demo.kinds import KINDS, Kind
from services.cli.demo.styles import STYLES

if TYPE_CHECKING:
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

KINDS_SOLD = ("lamp", "mug", "armchair", "backpack")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A user; every list waits for the effect of what the user did last."""

    user_id: str
    publisher: Publisher
    ranking: RecommenderAsyncStub

    async def does(self, type: str, *items: Item | str) -> str:
        """Do something with items one after the other; returns the last position token."""
        token = ""
        for item in items:
            item_id = item if isinstance(item, str) else item.item_id
            event = Event(user_id=self.user_id, item_id=item_id, type=type)
            token = await self.publisher.event(event)
        return token

    async def list(self, **request: Any) -> RecommendResponse:
        """Ask for a list of at most 20 items."""
        wanted = RecommendRequest(**{"user_id": self.user_id, "k": 20, **request})
        return await self.ranking.Recommend(wanted, timeout=10.0)

    async def ids(self, **request: Any) -> Sequence[str]:
        """Ask for a list, and return its items' ids."""
        return [item.item_id for item in (await self.list(**request)).items]


def kind_named(name: str) -> Kind:
    """Return a kind of thing that the shop sells."""
    return next(kind for kind in KINDS if kind.name == name)


def stock(per_style: int) -> list[Item]:
    """Draw the shop's items: so many of each kind in every style."""
    return [
        catalogue.item(kind_named(name), style, number)
        for number in range(per_style)
        for style in STYLES
        for name in KINDS_SOLD
    ]


def of_kind(sold: Sequence[Item], name: str) -> Sequence[Item]:
    """Return the shop's items of a kind."""
    return [item for item in sold if item.item_id.startswith(f"{name}-")]


def share(ids: Sequence[str], name: str) -> float:
    """Return which share of a list is of a kind."""
    return sum(item_id.startswith(f"{name}-") for item_id in ids) / max(1, len(ids))
