"""Import MovieLens folders, and tables of one's own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer

from services.cli import options, terminal
from services.cli.options import Data, Encoding, Json, SkipBad
from shared.clock import now_ms
from shared.inputs.lines import STDIN
from shared.inputs.rows import DELIMITERS, Fields, open_table

if TYPE_CHECKING:
    from freshet.contract.events import Event
    from freshet.contract.items import Item
    from freshet.contract.users import User
    from services.cli.imports.part import Feed, Part, SourcedRecord
    from services.cli.imports.run import Import, Outcome
    from services.cli.imports.unknown_items import UnknownItem
    from shared.dead_letters.letters import DeadLetter
    from shared.inputs.columns import Kind
    from shared.inputs.convert import Reading
    from shared.inputs.event_times import EventTimes

NAMED: Final = 10  # of what was refused, and of items that nobody knows
INTERRUPTED: Final = 130  # exit code of what Ctrl-C ends

commands = typer.Typer(help="Import items, users and events.", no_args_is_help=True)
T = TypeVar("T")

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="MovieLens folder.")]
Posters = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of MOVIE_ID.jpg.")
]
KeepTimes = Annotated[
    bool, typer.Option("--keep-times", help="Leave times as they are; else the last one is now.")
]
Images = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder below which `image_file` names pictures.",
        show_default="that of the items' table",
    ),
]
TABLES = ".jsonl, .csv, .tsv (also .gz or .zst), .parquet; - is JSONL from standard input"
ItemsFile = Annotated[str | None, typer.Option("--items", help=TABLES)]
UsersFile = Annotated[str | None, typer.Option("--users", help=TABLES)]
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
    """Import MovieLens 100K or 1M: movies, users, then interactions. Ids are MovieLens' ids.

    ml-1m.txt knows no times: each user's events get times a minute apart, the last one now.
    """
    from services.cli.imports.part import Feed, SourcedRecord
    from shared.inputs import movielens

    interactions = movielens.read_interactions(folder, now_ms=now_ms(), keep_times=keep_times)
    rated = set(interactions.movies.tolist())
    movies = [movie for movie in movielens.read_movies(folder) if movie.movie in rated]
    raters = set(map(str, interactions.users.tolist()))
    users = [user for user in movielens.read_users(folder) if user.user_id in raters]
    poster_of = movielens.poster_names(folder, rated)
    source = folder.resolve().name

    def items() -> Iterator[SourcedRecord]:
        for movie in movies:
            number = poster_of.get(movie.movie)
            poster = posters / f"{number}.jpg" if posters and number is not None else None
            picture = poster.read_bytes() if poster and poster.exists() else None
            yield SourcedRecord(movielens.item_of(movie, picture), source, repr(movie).encode())

    def events() -> Iterator[SourcedRecord]:
        for event in interactions.events():
            said = f"{event.user_id} {event.item_id} {event.value}"  # times begin anew each run
            yield SourcedRecord(event, source, said.encode())

    _import(
        data,
        Feed("items", str(folder), items, len(movies)),
        Feed(
            "users",
            str(folder),
            lambda: (SourcedRecord(user, source, repr(user).encode()) for user in users),
            len(users),
        ),
        Feed("events", str(folder), events, len(interactions)),
        as_json=as_json,
        times=interactions.times,
    )


@commands.command("files")
def import_files(
    data: Data,
    items: ItemsFile = None,
    users: UsersFile = None,
    events: EventsFile = None,
    images: Images = None,
    columns: Map = None,
    time_unit: TimeUnit = None,
    event_type: EventType = None,
    encoding: Encoding = None,
    keep_times: KeepTimes = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Import items, users and events from tables; columns are the contract's fields or near ones.

    `one|two` is a list, times are ISO 8601 or numbers since 1970, further columns become attributes
    or context, `image_file` names a picture below the table's folder. docs/importing.md says the
    rest.
    """
    from freshet.contract.events import Event
    from freshet.contract.items import Item
    from freshet.contract.users import User
    from services.cli.imports.part import Feed, SourcedRecord
    from shared.inputs import convert, event_times
    from shared.inputs.columns import parse_map

    files: dict[Kind, str | None] = {Item: items, User: users, Event: events}
    named = {kind: name for kind, name in files.items() if name is not None}
    if not named:
        raise typer.BadParameter("give --items, --users, --events or several of them")
    if len(set(named.values())) < len(named):
        raise typer.BadParameter("--items, --users and --events must be different files")
    with options.in_command_line():
        mapped = tuple(map(parse_map, columns or ()))
    reading = convert.Reading(mapped, time_unit, event_type)
    how = (mapped, time_unit, event_type, encoding, images)  # read otherwise, a row is another
    if images is None and items not in (None, STDIN):
        images = Path(items).parent
    make_item = partial(convert.item_of, images=images)
    readings = _check_headers(named, encoding, reading)
    last_ms = None
    if events not in (None, STDIN) and not keep_times:
        with open_table(named[Event], encoding) as table:
            make_event = partial(convert.event_of, reading=readings[Event])
            last_ms = event_times.last_ms(table.rows, make_event)
    times = event_times.EventTimes(0 if last_ms is None else now_ms() - last_ms)

    def rows(kind: Kind, make: Callable[..., Item | User | Event]) -> Iterator[SourcedRecord]:
        def made(origin: str, fields: Fields) -> SourcedRecord:
            said = f"{how} {fields}".encode("utf-8", "replace")
            return SourcedRecord(make(fields, reading=readings[kind]), origin, said)

        with open_table(named[kind], encoding) as table:
            yield from options.usable(table.rows, made, skip_bad=skip_bad)

    def feed(what: str, kind: Kind, make: Callable[..., Item | User | Event]) -> Feed | None:
        if kind not in named:
            return None
        once = named[kind] == STDIN
        return Feed(what, "" if once else named[kind], partial(rows, kind, make))

    _import(
        data,
        feed("items", Item, make_item),
        feed("users", User, convert.user_of),
        feed("events", Event, lambda *row, **how: times.moved(convert.event_of(*row, **how))),
        as_json=as_json,
        times=times,
    )


def _check_headers(
    named: dict[Kind, str], encoding: str | None, reading: Reading
) -> dict[Kind, Reading]:
    """Say how each file is read, by its columns. Raises BadInput before anything is published."""
    from freshet.contract.events import Event
    from shared.inputs.columns import check_mapped

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
                options.errors.say(f"{name}: cells are separated by {DELIMITERS[table.delimiter]}")
            if kind is Event and table.columns and "time_ms" not in readings[kind].fields:
                options.errors.say(f"{name}: no column is time_ms: the events happen now")
    check_mapped(reading.mapped, columns)
    return readings


def _import(
    data: Path,
    items: Feed | None,
    users: Feed | None,
    events: Feed | None,
    *,
    as_json: bool,
    times: EventTimes | None = None,
) -> None:
    """Import, and say what has become of it. Exit code 1 where something was refused."""
    from services.cli.imports.run import Import

    began = time.monotonic()
    bars = options.progress_bars()
    run = Import(data, bars, options.errors.say)
    try:
        with bars:
            outcome = asyncio.run(run.run(items, users, events))
    except BaseException as error:
        _say_how_far(run)
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
        raise
    seconds = time.monotonic() - began
    if as_json:
        span = {} if times is None else {"span_ms": times.span_ms, "moved_ms": times.moved_ms}
        terminal.print_json(_as_dict(run, outcome) | span | {"seconds": round(seconds, 1)})
    else:
        _say(run, outcome, seconds)
        if told := str(times or ""):
            options.console.say(told)
    if outcome.refused:
        raise typer.Exit(1)


def _say_how_far(run: Import) -> None:
    """Say what of an import that was cut off has arrived, and what becomes of the rest."""
    parts = [part for part in run.parts.values() if part.arrived]
    if not parts:
        return
    arrived = " and ".join(_arrived(part) for part in parts)
    goes_on = "the same command goes on behind them"
    if not all(part.goes_on for part in parts):
        goes_on = "leave them out of what follows, as standard input begins anew"
    options.errors.say(f"{arrived} had arrived and take effect; {goes_on}")


def _as_dict(run: Import, outcome: Outcome) -> dict[str, Any]:
    counts = {what: part.arrived for what, part in run.parts.items()}
    return {
        "items": 0,
        "users": 0,
        "events": 0,
        **counts,
        "refused": [letter.as_dict() for letter in outcome.refused],
        "unknown_items": [each._asdict() for each in outcome.unknown],
        "without_picture": [each._asdict() for each in outcome.pictureless],
    }


def _say(run: Import, outcome: Outcome, seconds: float) -> None:
    arrived = map(_arrived, run.parts.values())
    refused = len(outcome.refused)
    effect = f"all but {refused:,} in effect" if refused else "all in effect"
    options.console.say(f"{' and '.join(arrived)}, {effect}, in {seconds:.1f} s")
    _say_some(f"{refused:,} refused", outcome.refused, _refusal, "`freshet dead-letters` has all")
    without = len(outcome.pictureless)
    by_reason = Counter(each.reason for each in outcome.pictureless)
    _say_some(
        f"{terminal.counted(without, 'item')} in effect without a picture",
        by_reason.most_common(),
        lambda reason: f"{reason[1]:,} × {reason[0]}",
        "--json has all",
    )
    events = sum(each.events for each in outcome.unknown)
    _say_some(
        f"{terminal.counted(events, 'event')} of items that the catalogue does not know",
        outcome.unknown,
        _stranger,
        "--json has all",
    )


def _say_some(what: str, every: list[T], in_words: Callable[[T], str], rest: str) -> None:
    """Say how many there are and what the first ones are; rest: where the others are found."""
    if not every:
        return
    options.console.say(f"{what}:")
    for each in every[:NAMED]:
        options.console.say(f"  {in_words(each)}")
    if len(every) > NAMED:
        options.console.say(f"  and {len(every) - NAMED:,} more; {rest}")


def _arrived(part: Part) -> str:
    return terminal.counted(part.arrived, part.feed.what.removesuffix("s"))


def _refusal(letter: DeadLetter) -> str:
    named = letter.item_id or letter.user_id
    title = f" “{letter.title}”" if letter.title else ""
    return f"{letter.source}: {named}{title}: {letter.error}"


def _stranger(item: UnknownItem) -> str:
    meant = f"; {item.known} is known" if item.known else ""
    return f"{item.item_id} ({terminal.counted(item.events, 'event')}{meant})"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.add_typer(commands, name="import")
