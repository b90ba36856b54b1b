"""Publish items, offers or events from JSONL files or standard input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, NamedTuple

import typer

from freshet.contract.records import JSON
from freshet.contract.topics import CLICKS, ITEMS, OFFERS, Topic
from services.cli import endpoints, options, terminal
from services.cli.inputs.rows import open_jsonl
from services.cli.options import Data, Encoding, Json, SkipBad

items = typer.Typer(help="Publish or delete items.", no_args_is_help=True)
offers = typer.Typer(help="Publish price, stock and window of items.", no_args_is_help=True)
events = typer.Typer(help="Publish what users did.", no_args_is_help=True)

File = Annotated[str, typer.Argument(help="JSONL, one object a line; - reads standard input.")]
Ids = Annotated[list[str], typer.Argument(metavar="ITEM...", help="The items' ids.")]


class KeyedValue(NamedTuple):
    """What goes to a topic; no value deletes."""

    key: str
    value: bytes | None
    source: str = ""  # `file:line`


@items.command("publish")
def publish_items(
    file: File,
    data: Data,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Publish whole items; each is recommendable once it is encoded."""
    from freshet.contract.items import decode_item

    records = _checked(
        file, lambda line: decode_item(line, JSON).item_id, encoding, skip_bad=skip_bad
    )
    _report(_publish(data, ITEMS, records), "items", as_json=as_json)


@items.command("delete")
def delete_items(ids: Ids, data: Data, as_json: Json = False) -> None:
    """Delete items: they are in no list any more."""
    count = _publish(data, ITEMS, (KeyedValue(item_id, None) for item_id in ids))
    _report(count, "deletes", as_json=as_json)


@offers.command("publish")
def publish_offers(
    file: File,
    data: Data,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Publish offers: price, stock or window, without the picture."""
    from freshet.contract.offers import decode_offer

    records = _checked(
        file, lambda line: decode_offer(line, JSON).item_id, encoding, skip_bad=skip_bad
    )
    _report(_publish(data, OFFERS, records), "offers", as_json=as_json)


@events.command("publish")
def publish_events(
    file: File,
    data: Data,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Publish events; prints the position token of each, in the order of the lines."""
    from freshet.contract.events import decode_event

    records = _checked(
        file, lambda line: decode_event(line, JSON).user_id, encoding, skip_bad=skip_bad
    )
    tokens: list[str] = []
    _publish(data, CLICKS, records, tokens.append if as_json else print)
    if as_json:
        terminal.print_json({"tokens": tokens})


def _checked(
    file: str, key_of: Callable[[bytes], str], encoding: str | None, *, skip_bad: bool
) -> Iterator[KeyedValue]:
    """Read the lines that the contract allows, as they are (in UTF-8).

    Raises BadInput at the first other one, or says so and goes on where that is asked for.
    """
    with open_jsonl(file, encoding) as lines:
        yield from options.usable(
            lines,
            lambda origin, line: KeyedValue(key_of(line), line, origin),
            skip_bad=skip_bad,
        )


def _publish(
    data: Data,
    topic: Topic,
    records: Iterable[KeyedValue],
    on_token: Callable[[str], None] = lambda token: None,
) -> int:
    """Publish the records, return how many; what was sent before an error stays sent."""
    from freshet import kafka_clients
    from freshet.producer import RenewedProducer
    from freshet.publisher import BATCH_BYTES, LINGER_MS, token
    from freshet.send_window import SendWindow

    settings = endpoints.kafka_settings(endpoints.addresses(data))
    batches = {"linger_ms": LINGER_MS, "max_batch_size": BATCH_BYTES}

    async def run() -> int:
        async with (
            RenewedProducer(partial(kafka_clients.producer, settings, **batches)) as producer,
            SendWindow(producer, lambda written: on_token(token(written))) as window,
        ):
            for record in records:
                await window.send(
                    *(topic.name, record.key, record.value),
                    content_type=JSON,
                    source=record.source,
                )
        return window.acknowledged

    return asyncio.run(run())


def _report(count: int, what: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json({"published": count})
    else:
        options.console.print(f"{count} {what} published")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.add_typer(items, name="items")
    app.add_typer(offers, name="offers")
    app.add_typer(events, name="events")
