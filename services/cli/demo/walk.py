"""Walk through the demo shop: a newcomer, three clicks, a new item, a delete, each with its time.

Times run from the moment before the record is published to the moment its effect is in a reply.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import TypedDict

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from freshet import Client, Event, Item, KafkaSettings, Publisher, RankedList
from services.cli.demo import catalogue, shoppers, trained
from services.cli.demo.fill import OpenedShop, open_shop
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from services.cli.terminal import Bars

CALLS = 500  # one at a time, for the percentiles
SHOWN = 6  # items of each list
EFFECT_WITHIN_S = 30.0
STEP_WIDTH = 96  # columns of a step's heading, where there are that many


class WalkFigures(TypedDict):
    """What the walk-through measured."""

    click_to_change_ms: float
    item_to_recommended_ms: float
    recommend_p50_ms: float
    recommend_p99_ms: float
    items: int
    events: int


class Figures(WalkFigures, trained.Gains):
    """What the demo prints as its last line, in JSON."""


async def run(
    console: Console,
    kafka: KafkaSettings,
    ranking_address: str,
    untrained: Callable[[], AbstractAsyncContextManager[str]],
) -> Figures:
    """Open the shop and walk through it.

    untrained: runs a ranking to compare with, see trained.untrained_ranking. Raises TimeoutError
    when an effect does not show.
    """
    async with (
        Client(ranking_address, tls=False, timeout=2.0) as client,
        Publisher(kafka) as publisher,
    ):
        console.print()
        _step(console, "The shop opens", "Pictures drawn here; each is encoded when it arrives.")
        shop = await open_shop(console, publisher, client)
        figures = await _Walk(console, publisher, client, shop).through()
        return {**figures, **await _what_training_adds(console, client, shop, untrained)}


class _Walk:
    """One visit: a newcomer who turns out to like Retro lamps."""

    def __init__(
        self, console: Console, publisher: Publisher, client: Client, shop: OpenedShop
    ) -> None:
        self._console = console
        self._publisher = publisher
        self._client = client
        self._shop = shop
        self._user = f"newcomer-{time.time_ns() // 1_000_000_000}"
        self._kind = next(kind for kind in KINDS if kind.name == "lamp")
        self._style = next(style for style in STYLES if style.name == "Retro")

    async def through(self) -> WalkFigures:
        """Take all steps and return the figures."""
        first = await self._client.recommend(self._user)
        _step(
            self._console,
            "A newcomer's list",
            "Nothing is known of this person: what is popular and what is trending, in all kinds.",
        )
        self._table(first)
        click_ms = await self._three_clicks(first)
        item_ms, item = await self._new_item()
        await self._delete(item)
        p50_ms, p99_ms = await self._many_calls()
        return {
            "click_to_change_ms": round(click_ms, 2),
            "item_to_recommended_ms": round(item_ms, 2),
            "recommend_p50_ms": round(p50_ms, 3),
            "recommend_p99_ms": round(p99_ms, 3),
            "items": len(self._shop.items),
            "events": len(self._shop.events),
        }

    async def _three_clicks(self, before: RankedList) -> float:
        """Click three items of one kind and style; returns the median time to a changed list."""
        kind_and_style = (self._kind.name.capitalize(), self._style.name)
        liked = [item for item in self._shop.items if item.categories[1:] == kind_and_style][:3]
        _step(
            self._console,
            "Three clicks",
            f"The newcomer looks at {self._style.name} {self._kind.name}s. "
            "Each click goes through Kafka; the next list is asked for at once.",
        )
        times_ms, reply = [], before
        for item in liked:
            started = time.perf_counter()
            token = await self._publisher.event(
                Event(user_id=self._user, item_id=item.item_id, type="click")
            )
            earlier, reply = reply, await self._client.recommend(self._user, after=token)
            times_ms.append((time.perf_counter() - started) * 1e3)
            moved = len(set(_ids(reply)) - set(_ids(earlier)))
            self._console.print(
                Text.assemble(
                    *("  click  ", (item.title, "bold"), f"  →  {moved} of 10 items are new "),
                    *("to the list, ", _ms(times_ms[-1], 1), " after the click"),
                )
            )
        if _ids(reply) == _ids(before):
            raise TimeoutError("three clicks did not change the list")
        self._console.print()
        self._table(reply)
        return statistics.median(times_ms)

    async def _new_item(self) -> tuple[float, Item]:
        """Publish an item that nobody has seen; returns the time until it is in the list."""
        item = catalogue.item(self._kind, self._style, 100)
        _step(
            self._console,
            "A never-seen item arrives",
            Text.assemble(
                (item.title, "bold"),
                ": its picture and text are encoded now, by CNN and transformer.",
            ),
        )
        started = time.perf_counter()
        await self._publisher.item(item)
        reply = await self._until(lambda reply: item.item_id in _ids(reply))
        took_ms = (time.perf_counter() - started) * 1e3
        rank = _ids(reply).index(item.item_id)
        other = await self._client.recommend(self._with_another_taste())
        elsewhere = "not in" if item.item_id not in _ids(other) else "also in"
        self._console.print(
            Text.assemble(
                *(f"  place {rank + 1} of the newcomer's list, ", _ms(took_ms)),
                *(" after its arrival: ", (reply[rank].reason, "italic"), "\n"),
                f"  {elsewhere} the list of a shopper who never looks at {self._kind.name}s",
            )
        )
        return took_ms, item

    def _with_another_taste(self) -> str:
        """Return a shopper none of whose events concern the kind of the walk-through."""
        users = {f"shopper-{n}" for n in range(shoppers.COUNT)}
        for event in self._shop.events:
            if event.item_id.startswith(self._kind.name):
                users.discard(event.user_id)
        return min(users)

    async def _delete(self, item: Item) -> None:
        withdrawn = Text.assemble((item.title, "bold"), " is withdrawn.")
        _step(self._console, "A delete takes effect", withdrawn)
        started = time.perf_counter()
        await self._publisher.delete(item.item_id)
        await self._until(lambda reply: item.item_id not in _ids(reply))
        took_ms = (time.perf_counter() - started) * 1e3
        self._console.print(
            Text.assemble("  gone from the list ", _ms(took_ms), " after the delete")
        )

    async def _until(self, fulfilled: Callable[[RankedList], bool]) -> RankedList:
        deadline = time.monotonic() + EFFECT_WITHIN_S
        while not fulfilled(reply := await self._client.recommend(self._user)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no effect within {EFFECT_WITHIN_S:.0f} s")
            await asyncio.sleep(0.005)
        return reply

    async def _many_calls(self) -> tuple[float, float]:
        """Ask for many shoppers' lists, one at a time; returns p50 and p99 in ms."""
        _step(self._console, "How fast is it?", f"{CALLS} lists for shoppers, one at a time.")
        rng, times_ms = Random(1), []
        for _ in range(CALLS):
            user = f"shopper-{rng.randrange(shoppers.COUNT)}"
            started = time.perf_counter()
            await self._client.recommend(user)
            times_ms.append((time.perf_counter() - started) * 1e3)
        cuts = statistics.quantiles(times_ms, n=100)
        self._console.print(
            Text.assemble(
                "  half of them within ", _ms(cuts[49], 1), ", 99 % within ", _ms(cuts[98], 1)
            )
        )
        return cuts[49], cuts[98]

    def _table(self, reply: RankedList) -> None:
        table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
        for name in ("", "item", "why", "score"):
            table.add_column(
                name,
                justify="right" if name in ("", "score") else "left",
                style="italic" if name == "why" else "",
            )
        for rank, item in enumerate(reply[:SHOWN], start=1):
            table.add_row(str(rank), item.title, item.reason, f"{item.score:.2f}")
        self._console.print(table)


async def _what_training_adds(
    console: Console,
    client: Client,
    shop: OpenedShop,
    untrained: Callable[[], AbstractAsyncContextManager[str]],
) -> trained.Gains:
    """Ask both rankings for what each shopper found next, and show what they reach."""
    _step(
        console,
        "What training adds",
        f"Its model learnt from {len(shoppers.EARLIER):,} earlier shoppers. These {shoppers.COUNT} "
        "are others, and nobody was told what each found next. Is it in their lists? A second "
        "ranking answers, too, with the same knowledge and nothing trained.",
    )
    with Bars(console) as bars:
        bar = bars.add(f"lists of {len(shop.finds)} shoppers, twice", total=len(shop.finds))
        async with untrained() as address, Client(address, tls=False) as other:
            gains = await trained.compare(client, other, shop.finds, len(shop.items), bar.reach)
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for name in ("", "day zero", "trained", ""):
        table.add_column(name, justify="right" if name else "left")
    for name, before, after in (
        ("HR@10", gains["day_zero_hr_at_10"], gains["trained_hr_at_10"]),
        ("NDCG@10", gains["day_zero_ndcg_at_10"], gains["trained_ndcg_at_10"]),
    ):
        gain = Text(f"{after / before - 1:+.0%}" if before else "", "green")
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", gain)
    console.print(table)
    return gains


def _ids(reply: RankedList) -> list[str]:
    return [item.item_id for item in reply]


def _ms(took_ms: float, digits: int = 0) -> tuple[str, str]:
    """Return a time as text and style."""
    return f"{took_ms:.{digits}f} ms", "green"


def _step(console: Console, title: str, text: str | Text) -> None:
    width = min(console.width, STEP_WIDTH)
    console.print()
    console.print(Panel(text, title=Text(title, "bold"), title_align="left", width=width))
