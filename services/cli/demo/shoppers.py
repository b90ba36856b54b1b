"""Simulate shoppers: each has favourite kinds and a favourite style, and clicks accordingly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from freshet.contract.events import Event
from freshet.contract.items import Item
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES

COUNT = 400
_SEGMENTS = ("de", "fr", "it", "nl")
_TYPES = ("view", "click", "like", "cart", "purchase")
_TYPE_WEIGHTS = (50, 38, 6, 4, 2)
_SPAN_MS = 2 * 86_400_000  # the shop's past: two days
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
        self._all = [item.item_id for item in items]
        # Some things sell better than others: popularity falls off with a shuffled rank.
        ranks = list(range(len(items)))
        rng.shuffle(ranks)
        self._appeal = {
            item.item_id: 1 / (8 + rank) for item, rank in zip(items, ranks, strict=True)
        }
        self._shelves: dict[tuple[str, str], list[str]] = {}
        for item in items:
            kind, style = item.categories[1].lower(), item.categories[2]
            for shelf in ((kind, style), (kind, ""), ("", style)):
                self._shelves.setdefault(shelf, []).append(item.item_id)

    def pick(self, kind: str, style: str, rng: Random) -> str:
        """Return an item from a shelf, the appealing ones more often; "" stands for any."""
        shelf = self._shelves.get((kind, style), self._all)
        return rng.choices(shelf, [self._appeal[item_id] for item_id in shelf])[0]


def events(items: Sequence[Item], now_ms: int, *, seed: int = 1) -> Iterator[Event]:
    """Simulate the shop's last two days: every shopper's sessions, in the order of time."""
    rng = Random(seed)
    shop = Shelves(items, rng)
    found: list[Event] = []
    for number in range(COUNT):
        found += _shopper(f"shopper-{number}", taste(rng), shop, now_ms, rng)
    return iter(sorted(found, key=lambda event: event.time_ms or 0))


def _shopper(
    user_id: str, own: ShopperTaste, shop: Shelves, now_ms: int, rng: Random
) -> Iterator[Event]:
    segment = rng.choice(_SEGMENTS)
    for session in range(rng.randint(1, 4)):
        at_ms = now_ms - rng.randint(60_000, _SPAN_MS)
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
