"""Publish items, offers, users or events from JSONL files or standard input."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from freshet.contract.records import JSON
from freshet.contract.topics import CLICKS, ITEMS, OFFERS, USERS, Topic
from services.cli import endpoints, options, terminal
from services.cli.options import Data, Encoding, Json, SkipBad
from shared.inputs.rows import open_jsonl

if TYPE_CHECKING:
    from aiokafka.structs import RecordMetadata

    from freshet.kafka_clients import KafkaSettings
    from services.cli.fates import Fates

items = typer.Typer(help="Publish or delete items.", no_args_is_help=True)
offers = typer.Typer(help="Publish price, stock and window of items.", no_args_is_help=True)
users = typer.Typer(help="Publish or delete what is known of users.", no_args_is_help=True)
events = typer.Typer(help="Publish what users did.", no_args_is_help=True)

File = Annotated[str, typer.Argument(help="JSONL, one object a line; - reads standard input.")]
Wait = Annotated[
    float,
    typer.Option("--wait", min=0, metavar="SECONDS", help="At most, to hear what became of them."),
]
Ids = Annotated[list[str], typer.Argument(metavar="ITEM...", help="The items' ids.")]
UserIds = Annotated[list[str], typer.Argument(metavar="USER...", help="The users' ids.")]


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
    wait_s: Wait = 10.0,
    as_json: Json = False,
) -> None:
    """Publish whole items; each is recommendable once it is encoded.

    Says which were refused (exit code 1) and which changed nothing, as a newer one counts.
    """
    from freshet.contract.items import decode_item

    records = _checked(
        file, lambda line: decode_item(line, JSON).item_id, encoding, skip_bad=skip_bad
    )
    count, fates = asyncio.run(_publish_and_wait(data, records, wait_s))
    told = {} if fates is None else _as_dict(fates)
    _report(count, "item", told, as_json=as_json)
    if fates is None:
        if wait_s:
            options.errors.say("not all are encoded yet: `freshet status` shows how far it is")
        return
    if not as_json:
        _say(fates)
    if fates.refused:
        raise typer.Exit(1)


@items.command("delete")
def delete_items(ids: Ids, data: Data, as_json: Json = False) -> None:
    """Delete items: they are in no list any more."""
    count = _publish(data, ITEMS, (KeyedValue(item_id, None) for item_id in ids))
    _report(count, "delete", as_json=as_json)


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
    _report(_publish(data, OFFERS, records), "offer", as_json=as_json)


@users.command("publish")
def publish_users(
    file: File,
    data: Data,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Publish what the shop knows of users, the whole of it: country, segments, attributes."""
    from freshet.contract.users import decode_user

    records = _checked(
        file, lambda line: decode_user(line, JSON).user_id, encoding, skip_bad=skip_bad
    )
    _report(_publish(data, USERS, records), "user", as_json=as_json)


@users.command("delete")
def delete_users(ids: UserIds, data: Data, as_json: Json = False) -> None:
    """Delete what the shop said of users; what they did stays (`freshet forget`)."""
    count = _publish(data, USERS, (KeyedValue(user_id, None) for user_id in ids))
    _report(count, "delete", as_json=as_json)


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
    from freshet.publisher import token

    settings = endpoints.kafka_settings(endpoints.addresses(data))
    return asyncio.run(_send(settings, topic, records, lambda _, written: on_token(token(written))))


async def _publish_and_wait(
    data: Data, records: Iterable[KeyedValue], wait_s: float
) -> tuple[int, Fates | None]:
    """Publish items; return how many and what became of them, None where that is not known yet."""
    from services.cli.fates import FateWatch
    from shared.runtime import redis_client

    where = endpoints.addresses(data)
    settings = endpoints.kafka_settings(where)
    if not wait_s:
        return await _send(settings, ITEMS, records), None
    redis = redis_client.connect(endpoints.redis_settings(where))
    try:
        watch = await FateWatch.begin(settings, redis)

        def note(record: KeyedValue, written: RecordMetadata) -> None:
            if watch is not None:
                watch.sent(record.key, record.source, written)

        count = await _send(settings, ITEMS, records, note)
        return count, await watch.fates(wait_s) if watch is not None else None
    finally:
        await redis.aclose()


async def _send(
    settings: KafkaSettings,
    topic: Topic,
    records: Iterable[KeyedValue],
    on_written: Callable[[KeyedValue, RecordMetadata], None] = lambda record, written: None,
) -> int:
    from freshet.publisher import batching_producer
    from freshet.send_window import SendWindow

    under_way: deque[KeyedValue] = deque()  # acknowledged in this order
    async with (
        batching_producer(settings) as producer,
        SendWindow(producer, lambda written: on_written(under_way.popleft(), written)) as window,
    ):
        for record in records:
            under_way.append(record)
            await window.send(
                *(topic.name, record.key, record.value),
                content_type=JSON,
                source=record.source,
            )
    return window.acknowledged


def _as_dict(fates: Fates) -> dict[str, Any]:
    return {
        "refused": [letter.as_dict() for letter in fates.refused],
        "overtaken": [item._asdict() for item in fates.overtaken],
        "without_picture": [item._asdict() for item in fates.without_picture],
    }


def _say(fates: Fates) -> None:
    """Name each item that took no effect, or lacks its picture, and why."""
    for letter in fates.refused:
        options.console.say(f"{letter.source}: {letter.item_id} refused: {letter.error}")
    for item in fates.overtaken:
        options.console.say(
            f"{item.source}: {item.item_id} changed nothing: a newer record counts already "
            "(by updated_ms where both state it, else by the order of publishing)"
        )
    for each in fates.without_picture:
        options.console.say(f"{each.item_id} is in effect without its picture: {each.reason}")


def _report(
    count: int, what: str, told: Mapping[str, Any] = MappingProxyType({}), *, as_json: bool
) -> None:
    if as_json:
        terminal.print_json({"published": count, **told})
    else:
        options.console.print(f"{terminal.counted(count, what)} published")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.add_typer(items, name="items")
    app.add_typer(offers, name="offers")
    app.add_typer(users, name="users")
    app.add_typer(events, name="events")
