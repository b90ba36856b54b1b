"""Import MovieLens folders, and tables of one's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.progress import Progress

from services.cli import endpoints, options
from services.cli.inputs.lines import STDIN
from services.cli.inputs.rows import DELIMITERS, open_table
from services.cli.options import Data, Encoding, Json, SkipBad
from shared.clock import now_ms

if TYPE_CHECKING:
    from freshet.contract.events import Event
    from freshet.contract.items import Item
    from services.cli.addresses import Addresses
    from services.cli.inputs.columns import Kind
    from services.cli.inputs.convert import Reading

commands = typer.Typer(help="Import items and events.", no_args_is_help=True)
T = TypeVar("T")

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="MovieLens folder.")]
Posters = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of MOVIE_ID.jpg.")
]
KeepTimes = Annotated[
    bool, typer.Option("--keep-times", help="Leave times as they are; else the last one is now.")
]
TABLES = ".jsonl, .csv, .tsv (also .gz or .zst), .parquet; - is JSONL from standard input"
ItemsFile = Annotated[str | None, typer.Option("--items", help=TABLES)]
EventsFile = Annotated[str | None, typer.Option("--events", help=TABLES)]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="What a column is; nothing after = leaves it out. May be given several times.",
    ),
]
TimeUnit = Annotated[
    Literal["s", "ms", "us", "ns"] | None,
    typer.Option("--time-unit", help="Of numbers that are times."),
]
EventType = Annotated[
    str | None, typer.Option("--type", help="What the events are, where no column says it.")
]


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
    columns: Map = None,
    time_unit: TimeUnit = None,
    event_type: EventType = None,
    encoding: Encoding = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Import items and events from tables; columns are the contract's field names or near ones.

    `one|two` is a list, times are ISO 8601 or numbers since 1970, further columns become attributes
    or context, `image_file` names a picture beside the table. docs/importing.md says the rest.
    """
    from freshet.contract.events import Event
    from freshet.contract.items import Item
    from services.cli.inputs import convert
    from services.cli.inputs.columns import parse_map

    if items is None and events is None:
        raise typer.BadParameter("give --items, --events or both")
    if items == events:
        raise typer.BadParameter("--items and --events must be two files")
    with options.in_command_line():
        mapped = tuple(map(parse_map, columns or ()))
    reading = convert.Reading(mapped, time_unit, event_type)
    make_item = partial(convert.item_of, folder=Path(items or ".").parent)
    named: dict[Kind, str] = {
        kind: name for kind, name in ((Item, items), (Event, events)) if name is not None
    }
    readings = _check_headers(named, encoding, reading)

    def rows(kind: Kind, make: Callable[..., T]) -> Iterator[T]:
        if kind in named:
            with open_table(named[kind], encoding) as table:
                made = partial(make, reading=readings[kind])
                yield from options.usable(table.rows, made, skip_bad=skip_bad)

    _import(data, rows(Item, make_item), rows(Event, convert.event_of), (None, None), as_json)


def _check_headers(
    named: dict[Kind, str], encoding: str | None, reading: Reading
) -> dict[Kind, Reading]:
    """Say how each file is read, by its columns. Raises BadInput before anything is published."""
    from freshet.contract.events import Event
    from services.cli.inputs.columns import check_mapped

    readings: dict[Kind, Reading] = {}
    columns: list[tuple[str, ...] | None] = []
    for kind, name in named.items():
        if name == STDIN:  # is read once; it is JSONL, in which each line names its own columns
            readings[kind] = reading
            columns.append(None)
            continue
        with open_table(name, encoding) as table:
            columns.append(table.columns)
            readings[kind] = reading.of_table(kind, table)
            if table.delimiter != ",":
                _say(f"{name}: cells are separated by {DELIMITERS[table.delimiter]}")
            if kind is Event and table.columns and "time_ms" not in readings[kind].fields:
                _say(f"{name}: no column is time_ms: the events happen now")
    check_mapped(reading.mapped, columns)
    return readings


def _say(text: str) -> None:
    options.errors.print(text, markup=False)


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
