"""Look after a running system: status, dead-letters, snapshot."""

from __future__ import annotations

import asyncio
import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from services.cli import endpoints, options, terminal
from services.cli.options import Data, Json
from services.cli.terminal import columns

if TYPE_CHECKING:
    from freshet.kafka_clients import KafkaSettings
    from shared.dead_letters.letters import DeadLetter, Selection

SNAPSHOT_TIMEOUT_S = 600.0
SAID_ABOVE = ("service", "ready", "live", "address", "process", "lag", "partitions", "cluster")


class LetterWriter(StrEnum):
    """A service that writes dead letters."""

    SESSIONS = "sessions"
    EMBEDDING = "embedding"
    RANKING = "ranking"


Newest = Annotated[int, typer.Option("-n", min=1, help="How many to show, the newest.")]
ByService = Annotated[
    list[LetterWriter] | None,
    typer.Option(help="Only what this service refused. May be given repeatedly."),
]
ByError = Annotated[list[str] | None, typer.Option(help="Only of this class: out-of-bounds, …")]
ByTopic = Annotated[list[str] | None, typer.Option(help="Only records that stood on this topic.")]
ById = Annotated[
    list[str] | None, typer.Option("--id", help="Only records of this user, item or key.")
]
Since = Annotated[
    datetime.datetime | None, typer.Option(help="Only what failed since then; UTC, if no zone.")
]
Until = Annotated[
    datetime.datetime | None, typer.Option(help="Only what failed before; UTC, if no zone.")
]
Replay = Annotated[
    bool, typer.Option("--replay", help="Publish the originals again that were not yet.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what --replay would publish.")]
Yes = Annotated[bool, typer.Option("--yes", help="Let --replay publish without asking.")]


def status(data: Data, as_json: Json = False) -> None:
    """Show every service, its lag, freshness and versions. Exit code 1 if anything is not well."""
    from services.cli import health

    report = asyncio.run(health.gather(data))
    if as_json:
        terminal.print_json(report)
    else:
        options.console.print(_status(report))
    if not health.all_well(report):
        raise typer.Exit(1)


def dead_letters(
    data: Data,
    count: Newest = 20,
    service: ByService = None,
    error: ByError = None,
    topic: ByTopic = None,
    ids: ById = None,
    since: Since = None,
    until: Until = None,
    replay: Replay = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show what could not be processed, and why; or publish it again."""
    from shared.dead_letters import letters

    if (dry_run or yes) and not replay:
        raise typer.BadParameter("--dry-run and --yes say how to --replay, which is not given")
    settings = endpoints.kafka_settings(endpoints.addresses(data))
    selection = letters.Selection(
        service or (), error or (), topic or (), ids or (), _utc_ms(since), _utc_ms(until)
    )
    if replay:
        _replay(settings, selection, dry_run=dry_run, asks=not yes, as_json=as_json)
        return
    total, shown = asyncio.run(letters.newest(settings, count, selection))
    if as_json:
        letters_shown = [letter.as_dict() for letter in shown]
        terminal.print_json({"total": total, "dead_letters": letters_shown})
        return
    options.console.print(_letters_table(shown) if shown else "no dead letters")
    if total > len(shown):
        options.console.print(f"the newest {len(shown)} of {total}")


def _utc_ms(time: datetime.datetime | None) -> int | None:
    """Return milliseconds since 1970; a time without a zone is UTC."""
    if time is None:
        return None
    return round((time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def _replay(
    settings: KafkaSettings, selection: Selection, *, dry_run: bool, asks: bool, as_json: bool
) -> None:
    """Say what is to be published again, ask, and publish it."""
    from shared.dead_letters.replay import plan_replay, replay

    plan = asyncio.run(plan_replay(settings, selection))
    planned, replayed = len(plan.letters), 0
    for kind, letters in sorted(plan.kinds.items()):
        options.errors.say(f"{letters} × {kind.error_class}, said {kind.service} → {kind.topic}")
    for refusal in plan.refused:
        options.errors.say(f"cannot be published again: {refusal.origin}: {refusal.why}")
    if plan.strange:
        options.errors.say(f"{plan.strange} records on the topic are no dead letters")
    if planned and not dry_run:
        if asks:
            typer.confirm(f"Publish {planned} again?", abort=True, err=True)
        replayed = asyncio.run(replay(settings, plan))
    if as_json:
        refused = {str(refusal.origin): refusal.why for refusal in plan.refused}
        counts = {"planned": planned, "replayed": replayed, "strange": plan.strange}
        terminal.print_json({**counts, "refused": refused})
    else:
        told = f"{planned} would be" if dry_run else f"{replayed}"
        options.console.print(f"{told} published again")


def snapshot(data: Data, as_json: Json = False) -> None:
    """Let embedding build a snapshot of the index now, and wait for it."""
    where = endpoints.addresses(data)
    made = endpoints.health_page(
        where.health["embedding"],
        "snapshot",
        endpoints.access(where),
        post=True,
        timeout_s=SNAPSHOT_TIMEOUT_S,
    )
    if as_json:
        terminal.print_json(made)
    else:
        options.console.print(" · ".join(f"{name} {value}" for name, value in made.items()))


def _status(report: dict[str, Any]) -> RenderableType:
    """Return who is there, how far behind, and below that what each says of itself."""
    everybody = {name: report[name] for name in ("kafka", "redis")} | report["services"]
    table = columns(*("", "state", "behind", "address", "process"), right=("behind", "process"))
    words = columns("", "what it says of itself")
    for name, page in everybody.items():
        process, lag = page.get("process"), page.get("lag")
        behind = "" if lag is None else f"{sum(lag.values()):,}"
        table.add_row(name, _state(page), behind, page["address"], str(process or ""))
        told = {key: value for key, value in page.items() if key not in SAID_ABOVE}
        inner = {key: told.pop(key) for key in list(told) if isinstance(told[key], dict)}
        for key, facts in [(name, told), *((f"  {key}", inner[key]) for key in inner)]:
            if said := _in_words(facts):
                words.add_row(key, said)
    return Group(table, "", words)


def _in_words(facts: dict[str, Any]) -> str:
    """Write `items 3 · delay_ms 2`; what is not set, is left out."""
    told = {name: fact for name, fact in facts.items() if fact not in (None, "", [], {})}
    return " · ".join(
        f"{name} {', '.join(map(str, fact)) if isinstance(fact, list) else fact}"
        for name, fact in told.items()
    )


def _state(page: dict[str, Any]) -> str:
    if "error" in page:
        return "does not answer"
    return {True: "ready", False: "not ready", None: "answers"}[page.get("ready")]


def _letters_table(shown: list[DeadLetter]) -> Table:
    """Return what failed and why, the newest last: what it is, and where it came from."""
    table = columns("failed (UTC)", "what", "why")
    for letter in shown:
        failed = datetime.datetime.fromtimestamp(letter.failed_ms / 1000, datetime.UTC)
        names = (letter.item_id, letter.title, letter.user_id and f"of {letter.user_id}")
        table.add_row(
            f"{failed:%m-%d %H:%M:%S}",
            "\n".join(filter(None, (*names, letter.source, str(letter.origin)))),
            f"{letter.error}\n{letter.error_class}, said {letter.service}",
        )
    return table


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(status)
    app.command("dead-letters")(dead_letters)
    app.command()(snapshot)
