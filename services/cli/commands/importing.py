"""Import MovieLens folders, and tables of one's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import Progress

from services.cli import endpoints, options
from services.cli.inputs.rows import BadInput, Fields, located, read_rows
from services.cli.options import Data, Json, SkipBad
from shared.clock import now_ms

if TYPE_CHECKING:
    from freshet.contract.events import Event
    from freshet.contract.items import Item
    from services.cli.addresses import Addresses

commands = typer.Typer(help="Import items and events.", no_args_is_help=True)
T = TypeVar("T")

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="MovieLens folder.")]
Posters = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of MOVIE_ID.jpg.")
]
KeepTimes = Annotated[
    bool, typer.Option("--keep-times", help="Leave times as they are; else the last one is now.")
]
ItemsFile = Annotated[str | None, typer.Option("--items", help=".jsonl, .csv or .parquet")]
EventsFile = Annotated[str | None, typer.Option("--events", help=".jsonl, .csv or .parquet")]


@commands.command("movielens")
def import_movielens(
    folder: Folder,
    data: Data,
    posters: Posters = None,
    keep_times: KeepTimes = False,
    as_json: Json = False,
) -> None:
    """Import MovieLens 100K or 1M: movies, then interactions. Item ids are MovieLens' ids.

    ml-1m.txt knows no times: each user's events get times a minute apart, the last one now.
    """
    from services.cli.inputs import movielens

    interactions = movielens.read_interactions(folder, now_ms=now_ms(), keep_times=keep_times)
    rated = set(interactions.movies.tolist())
    movies = [movie for movie in movielens.read_movies(folder) if movie.movie in rated]
    poster_of = movielens.poster_names(folder)

    def items() -> Iterator[Item]:
        for movie in movies:
            name = f"{poster_of.get(movie.movie, movie.movie)}.jpg"
            poster = posters / name if posters else None
            picture = poster.read_bytes() if poster and poster.exists() else None
            yield movielens.item_of(movie, picture)

    _import(data, items(), interactions.events(), (len(movies), len(interactions)), as_json)


@commands.command("files")
def import_files(
    data: Data,
    items: ItemsFile = None,
    events: EventsFile = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Import items and events from tables; columns are the contract's field names.

    `one|two` is a list, times are milliseconds or ISO 8601, further columns become attributes or
    context, `image_file` names a picture beside the table.
    """
    from services.cli.inputs import convert

    if items is None and events is None:
        raise typer.BadParameter("give --items, --events or both")

    def make_item(fields: Fields) -> Item:
        return convert.item_of(fields, Path(items or ".").parent)

    _import(
        data,
        _rows(items, make_item, skip_bad=skip_bad),
        _rows(events, convert.event_of, skip_bad=skip_bad),
        (None, None),
        as_json,
    )


def _rows(name: str | None, make: Callable[[Fields], T], *, skip_bad: bool) -> Iterator[T]:
    for row in read_rows(name) if name else ():
        try:
            with located(row.origin):
                yield make(row.fields())
        except BadInput as error:
            if not skip_bad:
                raise
            options.errors.print(f"left out {error}")


def _import(
    data: Path,
    items: Iterable[Item],
    events: Iterable[Event],
    totals: tuple[int | None, int | None],
    as_json: bool,
) -> None:
    began = time.monotonic()
    where = endpoints.addresses(data)  # what is wrong with it is said before any bar
    with options.progress_bars() as progress:
        counts = asyncio.run(_publish_all(where, items, events, totals, progress))
    seconds = time.monotonic() - began
    if as_json:
        options.print_json({**counts, "seconds": round(seconds, 1)})
    else:
        options.console.print(
            f"{counts['items']} items and {counts['events']} events, all in effect, "
            f"in {seconds:.1f} s"
        )


async def _publish_all(
    where: Addresses,
    items: Iterable[Item],
    events: Iterable[Event],
    totals: tuple[int | None, int | None],
    progress: Progress,
) -> dict[str, int]:
    """Publish items, wait until they are encoded, publish events, wait until they are folded."""
    from freshet import Publisher
    from freshet.contract.topics import FIXED
    from freshet.kafka_clients import ensure_topics
    from freshet.publisher import LINGER_MS
    from services.cli import lag
    from shared.runtime import redis_client

    settings = endpoints.kafka_settings(where)
    client = redis_client.connect(endpoints.redis_settings(where))
    await ensure_topics(settings, FIXED)

    async def publish(what: str, records: Iterable[Item | Event], total: int | None) -> int:
        task = progress.add_task(f"publishing {what}", total=total)

        def shown() -> Iterator[Item | Event]:
            for number, record in enumerate(records):
                if number % 500 == 0:
                    progress.update(task, completed=number)
                yield record

        async with Publisher(settings, linger_ms=LINGER_MS) as publisher:
            count = (await publisher.many(shown(), backfill=True)).count
        progress.update(task, completed=count, total=count)
        return count

    async def wait(what: str, until: Callable[..., Any], published: int) -> None:
        task = progress.add_task(what, total=published)

        def show(behind: int) -> None:
            progress.update(task, completed=max(0, published - behind))

        if published:
            await until(settings, client, show)

    try:
        item_count = await publish("items", items, totals[0])
        await wait("encoding items", lag.until_encoded, item_count)
        event_count = await publish("events", events, totals[1])
        await wait("folding events", lag.until_folded, event_count)
    finally:
        await client.aclose()
    return {"items": item_count, "events": event_count}


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.add_typer(commands, name="import")
