"""Import files: items until all are encoded, users, then events until all are folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from freshet import kafka_clients
from freshet.contract.topics import DEAD_LETTERS, FIXED, item_vectors
from services.cli import endpoints, lag
from services.cli.imports.notes import NoteFile
from services.cli.imports.part import Feed, Part
from services.cli.imports.pictureless import Pictureless, pictureless
from services.cli.imports.unknown_items import UnknownItem, catalogue_ids, unknown_items
from services.cli.terminal import Bars
from shared.dead_letters import letters
from shared.dead_letters.letters import DeadLetter
from shared.kafka.records import ends_of
from shared.runtime import redis_client

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from freshet.kafka_clients import KafkaSettings


class Outcome(NamedTuple):
    """What has become of an import that is done."""

    refused: list[DeadLetter]
    unknown: list[UnknownItem]  # items that events name
    pictureless: list[Pictureless]


class Import:
    """One import: `run` it once; `parts` say how far it got, whatever ended it."""

    def __init__(self, data: Path, bars: Bars, tell: Callable[[str], None]) -> None:
        """data: the folder of `freshet up`. tell: hears what people should know meanwhile."""
        self.parts: dict[str, Part] = {}  # by what they are: items, users, events
        self._data = data
        self._bars = bars
        self._tell = tell

    async def run(self, items: Feed | None, users: Feed | None, events: Feed | None) -> Outcome:
        """Return once all is in effect. Raises BadInput, KafkaError, RedisError, OSError."""
        where = endpoints.addresses(self._data)
        settings = endpoints.kafka_settings(where)
        redis = redis_client.connect(endpoints.redis_settings(where))
        try:
            await kafka_clients.ensure_topics(settings, FIXED)
            cluster_id = await kafka_clients.cluster_id(settings)
            if items is not None:
                part = await self._publish(settings, redis, cluster_id, items)
                encoded = partial(lag.until_encoded, settings, redis, part.last)
                await self._wait("encoding items", part, encoded)
            if users is not None:
                part = await self._publish(settings, redis, cluster_id, users)
                stand = partial(lag.until_standing, redis, cluster_id, part.last)
                await self._wait("taking users in", part, stand)
            if events is not None:
                part = await self._publish(settings, redis, cluster_id, events)
                await self._wait(
                    "folding events", part, partial(lag.until_folded, redis, part.last)
                )
            outcome = await self._outcome(settings, redis)
        finally:
            await redis.aclose()
        for part in self.parts.values():
            part.finish()
        return outcome

    async def _publish(
        self, settings: KafkaSettings, redis: Redis, cluster_id: str, feed: Feed
    ) -> Part:
        note = NoteFile(self._data, cluster_id, feed.what, feed.name) if feed.name else None
        space = await lag.active_space(redis)
        vectors = await ends_of(settings, item_vectors(space).name) if space else {}
        part = Part(feed, note, await ends_of(settings, DEAD_LETTERS.name), vectors)
        self.parts[feed.what] = part
        if resumed := part.resume():
            self._tell(f"{feed.name}: goes on behind the {resumed:,} {feed.what} that had arrived")
        bar = self._bars.add(f"publishing {feed.what}", feed.total)
        await part.publish(settings, bar.reach)
        bar.reach(part.arrived, total=part.arrived)
        return part

    async def _wait(
        self, what: str, part: Part, until: Callable[[Callable[[int], None]], Awaitable[None]]
    ) -> None:
        if part.arrived:
            bar = self._bars.add(what, part.arrived)
            await until(lambda behind: bar.reach(max(0, part.arrived - behind)))

    async def _outcome(self, settings: KafkaSettings, redis: Redis) -> Outcome:
        refused: list[DeadLetter] = []
        for part in self.parts.values():
            refused += await letters.of_records(settings, part.dead_letters, part.first, part.last)
        refused.sort(key=lambda letter: (len(letter.source), letter.source))  # lines in order
        named = Counter[str]()
        known: set[str] = set()
        if events := self.parts.get("events"):
            named = events.by_item
        if items := self.parts.get("items"):
            known = items.by_item.keys() - {letter.item_id for letter in refused}
        space = await lag.active_space(redis)
        without: list[Pictureless] = []
        if space is not None and items is not None and items.has_pictures:
            without = await pictureless(settings, space, items.vectors, items.by_item)
        if space is not None and not named.keys() <= known:
            known |= await catalogue_ids(settings, space)
        return Outcome(refused, unknown_items(named, known), without)
