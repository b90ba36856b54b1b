"""Ask Freshet for lists, and tell it what happens in the shop.

    from freshet import Client, Event, Publisher

    async with Client("127.0.0.1:50051") as client, Publisher("127.0.0.1:9092") as publisher:
        await publisher.event(Event(user_id="ada", item_id="mug-1", type="click"))
        for item in await client.recommend("ada", k=5):
            print(item.score, item.title, item.reason)

`freshet.sync` has the same, blocking. Everything that can go wrong is a FreshetError, drawn as a
tree in freshet/errors.py. Names load at first use, gRPC and Kafka's client at the first call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freshet import sync as sync
    from freshet.client import Client as Client
    from freshet.contract.events import Event as Event
    from freshet.contract.filters import AttributeFilter as AttributeFilter
    from freshet.contract.filters import Filters as Filters
    from freshet.contract.filters import Range as Range
    from freshet.contract.items import Item as Item
    from freshet.contract.offers import Offer as Offer
    from freshet.contract.requests import By as By
    from freshet.contract.requests import Seen as Seen
    from freshet.contract.rules import Boost as Boost
    from freshet.contract.rules import Cap as Cap
    from freshet.contract.rules import Pin as Pin
    from freshet.contract.rules import Rules as Rules
    from freshet.contract.users import User as User
    from freshet.errors import DeadlineExceeded as DeadlineExceeded
    from freshet.errors import FreshetError as FreshetError
    from freshet.errors import InvalidRequest as InvalidRequest
    from freshet.errors import NotFound as NotFound
    from freshet.errors import Overloaded as Overloaded
    from freshet.errors import Unavailable as Unavailable
    from freshet.kafka_clients import KafkaSettings as KafkaSettings
    from freshet.publisher import Published as Published
    from freshet.publisher import Publisher as Publisher
    from freshet.replies import Contribution as Contribution
    from freshet.replies import Explanation as Explanation
    from freshet.replies import HistoryEntry as HistoryEntry
    from freshet.replies import ItemFate as ItemFate
    from freshet.replies import MissingItem as MissingItem
    from freshet.replies import RankedItem as RankedItem
    from freshet.replies import RankedList as RankedList
    from freshet.replies import StageStep as StageStep
    from freshet.replies import StageTrace as StageTrace
    from freshet.replies import State as State
    from freshet.replies import Versions as Versions

__version__ = "0.2.0"

_MODULE_OF = {
    "Client": "freshet.client",
    "Event": "freshet.contract.events",
    "AttributeFilter": "freshet.contract.filters",
    "Filters": "freshet.contract.filters",
    "Range": "freshet.contract.filters",
    "Item": "freshet.contract.items",
    "Offer": "freshet.contract.offers",
    "By": "freshet.contract.requests",
    "Seen": "freshet.contract.requests",
    "Boost": "freshet.contract.rules",
    "Cap": "freshet.contract.rules",
    "Pin": "freshet.contract.rules",
    "Rules": "freshet.contract.rules",
    "User": "freshet.contract.users",
    "DeadlineExceeded": "freshet.errors",
    "FreshetError": "freshet.errors",
    "InvalidRequest": "freshet.errors",
    "NotFound": "freshet.errors",
    "Overloaded": "freshet.errors",
    "Unavailable": "freshet.errors",
    "KafkaSettings": "freshet.kafka_clients",
    "Published": "freshet.publisher",
    "Publisher": "freshet.publisher",
    "Contribution": "freshet.replies",
    "Explanation": "freshet.replies",
    "HistoryEntry": "freshet.replies",
    "ItemFate": "freshet.replies",
    "MissingItem": "freshet.replies",
    "RankedItem": "freshet.replies",
    "RankedList": "freshet.replies",
    "StageStep": "freshet.replies",
    "StageTrace": "freshet.replies",
    "State": "freshet.replies",
    "Versions": "freshet.replies",
}
__all__ = [*_MODULE_OF, "sync"]


if not TYPE_CHECKING:  # a type checker shall see the names above and no others

    def __getattr__(name: str) -> Any:
        """Import what is asked for the first time (PEP 562)."""
        if name == "sync":
            return import_module("freshet.sync")
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'freshet' has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
