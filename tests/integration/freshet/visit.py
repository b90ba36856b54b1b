"""Use a running system as a shop's backend does: python visit.py KAFKA RANKING; prints JSON.

It runs on the installed wheel, in a folder where other things are called as Freshet's are.
"""

from __future__ import annotations

import asyncio
import json
import sys

import event_pb2  # type: ignore[import-not-found]  # from somebody's event.proto
import protos_event_pb2  # type: ignore[import-not-found]  # and from somebody's protos/event.proto

import freshet
from freshet import Client, Event, FreshetError, Item, Offer, Publisher


async def main(kafka: str, ranking: str) -> dict[str, object]:
    """Sell two mugs, let ada click one, ask for all there is to ask, forget her."""
    async with Publisher(kafka, timeout=30) as publisher, Client(ranking, timeout=30) as client:
        mugs = [Item(item_id=f"mug-{name}", title=f"A {name} mug") for name in ("blue", "red")]
        await publisher.many([*mugs, Offer(item_id="mug-red", price=15.0, currency="EUR")])
        ids = [mug.item_id for mug in mugs]
        while True:
            if len(await client.recommend("probe", candidates=ids)) == len(ids):
                break
            await asyncio.sleep(0.05)
        token = await publisher.event(Event(user_id="ada", item_id="mug-blue", type="click"))
        listed = await client.recommend("ada", k=5, after=token)
        clicked = await client.state("ada", after=token)
        explained = await client.explain("ada", "mug-red")
        found = await client.search("a red mug")
        similar = await client.similar("mug-blue")
        forgotten = await client.forget("ada")
        empty = await client.state("ada", after=forgotten)
        try:
            await client.similar("no such mug")
            unknown = ""
        except FreshetError as error:
            unknown = type(error).__name__
        return {
            "listed": [(item.item_id, item.title, item.reason != "") for item in listed],
            "degraded": listed.degraded,
            "clicked": [(entry.type, entry.item_id) for entry in clicked.history],
            "explained": explained.item.item_id,
            "found": found[0].item_id,
            "similar": [item.item_id for item in similar],
            "unknown": unknown,
            "empty": len(empty.history),
            "version": freshet.__version__,
        }


if __name__ == "__main__":
    assert {"other.v1.Event", "other.v2.Event"} == {
        module.Event.DESCRIPTOR.full_name for module in (event_pb2, protos_event_pb2)
    }
    sys.stdout.write(json.dumps(asyncio.run(main(*sys.argv[1:]))))
