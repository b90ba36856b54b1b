"""Use a running system as visit.py does, without an event loop."""

from __future__ import annotations

import json
import sys
import time

import event_pb2  # type: ignore[import-not-found]  # noqa: F401  # from somebody's event.proto
import protos_event_pb2  # type: ignore[import-not-found]  # noqa: F401

from freshet.sync import Client, Event, Item, NotFound, Publisher


def main(kafka: str, ranking: str) -> dict[str, object]:
    """Sell two cups, let grace click one, ask for all there is to ask, forget her."""
    with Publisher(kafka, timeout=30) as publisher, Client(ranking, timeout=30) as client:
        ids = [f"cup-{name}" for name in ("blue", "red")]
        publisher.many(Item(item_id=item_id, title=f"A {item_id[4:]} cup") for item_id in ids)
        while len(client.recommend("probe", candidates=ids)) < len(ids):
            time.sleep(0.05)
        token = publisher.event(Event(user_id="grace", item_id="cup-blue", type="click"))
        listed = client.recommend("grace", k=5, candidates=ids, after=token)
        clicked = client.state("grace", after=token)
        found = client.search("a red cup")
        empty = client.state("grace", after=client.forget("grace"))
        try:
            client.explain("grace", "no such cup")
            unknown = ""
        except NotFound as error:
            unknown = type(error).__name__
        return {
            "listed": [(item.item_id, item.title, item.reason != "") for item in listed],
            "clicked": [(entry.type, entry.item_id) for entry in clicked.history],
            "found": found[0].item_id,
            "unknown": unknown,
            "empty": len(empty.history),
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
