"""Simulate shoppers: each has favourite kinds and a favourite style, and clicks accordingly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from freshet.contract.events import Event
from freshet.contract.items import Item
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES

COUNT = 400
DAY_MS = 86_400_000
EARLIER = range(COUNT, COUNT + 4_000)  # those of the weeks before, whom the shipped bundle knows
EARLIER_DAYS = 28
_SEGMENTS = ("de", "fr", "it", "nl")
_TYPES = ("view", "click", "like", "cart", "purchase")
_TYPE_WEIGHTS = (50, 38, 6, 4, 2)
DAYS = 2  # the shop's past
_ALL = ("", "")  # the shelf of all items
_FAITHFUL = 0.85  # share of clicks that follow the taste, the rest wander


@dataclass(frozen=True, slots=True)
class ShopperTaste:
    """What a shopper likes: kinds (with one in mind each session) and a style."""

    kinds: tuple[str, ...]
    style: str


def taste(rng: Random) -> ShopperTaste:
    """Draw a taste: two kinds and a style."""
    kinds = rng.sample([kind.name for kind in KINDS], 2)
    return ShopperTaste(tuple(kinds), rng.choice(STYLES).name)


class Shelves:
    """The items by kind and style, as shoppers come upon them."""

    def __init__(self, items: Sequence[Item], rng: Random) -> None:
        # Some things sell better than others: popularity falls off with a shuffled rank.
        ranks = list(range(len(items)))
        rng.shuffle(ranks)
        shelves: dict[tuple[str, str], list[tuple[str, float]]] = {}
        for item, rank in zip(items, ranks, strict=True):
            kind, style = item.categories[1].lower(), item.categories[2]
            for shelf in ((kind, style), (kind, ""), ("", style), _ALL):
                shelves.setdefault(shelf, []).append((item.item_id, 1 / (8 + rank)))
        self._shelves = {
            name: (
                [item_id for item_id, _ in shelf],
                list(accumulate(appeal for _, appeal in shelf)),
            )
            for name, shelf in shelves.items()
        }

    def pick(self, kind: str, style: str, rng: Random) -> str:
        """Return an item from a shelf, the appealing ones more often; "" stands for any."""
        shelf, appeals = self._shelves.get((kind, style), self._shelves[_ALL])
        return rng.choices(shelf, cum_weights=appeals)[0]


def events(
    items: Sequence[Item],
    now_ms: int,
    *,
    numbers: Iterable[int] = range(COUNT),
    days: int = DAYS,
    seed: int = 1,
) -> list[Event]:
    """Simulate what shoppers did in the last days, all their sessions in the order of time.

    numbers: which shoppers; each is the same whoever else comes.
    """
    shop = Shelves(items, Random(seed))
    found: list[Event] = []
    for number in numbers:
        rng = Random(f"{seed}/{number}")
        found += _shopper(f"shopper-{number}", taste(rng), shop, now_ms, days, rng)
    return sorted(found, key=lambda event: event.time_ms or 0)


def earlier_events(items: Sequence[Item], now_ms: int) -> list[Event]:
    """Simulate the weeks before those days: other shoppers of the same shop, in order of time."""
    before_ms = now_ms - DAYS * DAY_MS
    return events(items, before_ms, numbers=EARLIER, days=EARLIER_DAYS)


def last_finds(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """Return what shoppers did before their last find, and these finds, in the order of time.

    A find is an item that a shopper comes to for the first time.
    """
    found: set[tuple[str, str]] = set()
    finds: dict[str, Event] = {}
    for event in events:
        if (choice := (event.user_id, event.item_id)) not in found:
            found.add(choice)
            finds[event.user_id] = event
    before = [
        event for event in events if (event.time_ms or 0) < (finds[event.user_id].time_ms or 0)
    ]
    return before, sorted(finds.values(), key=lambda event: event.time_ms or 0)


def _shopper(
    user_id: str, own: ShopperTaste, shop: Shelves, now_ms: int, days: int, rng: Random
) -> Iterator[Event]:
    segment = rng.choice(_SEGMENTS)
    for session in range(rng.randint(1, 4)):
        at_ms = now_ms - rng.randint(60_000, days * DAY_MS)
        kind = rng.choice(own.kinds)
        for _ in range(rng.randint(4, 12)):
            if rng.random() < _FAITHFUL:
                style = own.style if rng.random() < 0.7 else ""
                item_id = shop.pick(kind, style, rng)
            else:
                item_id = shop.pick("", "", rng)
            yield Event(
                user_id=user_id,
                item_id=item_id,
                type=rng.choices(_TYPES, _TYPE_WEIGHTS)[0],
                time_ms=min(at_ms, now_ms),
                session_id=f"{user_id}-{session}",
                context={"segment": segment},
            )
            at_ms += rng.randint(4_000, 90_000)
