"""Let user states go on with another log: adopt-log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from services.cli import endpoints, options, terminal
from services.cli.options import Data, Json
from services.cli.terminal import columns

if TYPE_CHECKING:
    from services.cli.addresses import Addresses
    from services.cli.adopt.plan import Plan

FITS = "the states in Redis belong to this log: there is nothing to adopt"
SNAPSHOTS = (
    "Snapshots of the other cluster's items name its offsets: give embedding another"
    " FRESHET_SNAPSHOTS, or empty it."
)
NOT_YET = "Nothing is changed yet: `freshet adopt-log --apply` does it."


def adopt_log(
    data: Data,
    skip: Annotated[
        bool,
        typer.Option(
            "--skip",
            help="Count what stands in the log as applied: it is a copy of the log before.",
        ),
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else only say it.")] = False,
    as_json: Json = False,
) -> None:
    """Keep the user states and go on with this Kafka, where sessions says they are of another log.

    That is another cluster, or one that lost its last records. Of each partition that does not
    fit, events count from the first one on that is later than what was applied last.
    """
    planned, states = asyncio.run(_adopt(endpoints.addresses(data), skip=skip, apply=apply))
    if as_json:
        done = apply and not planned.changes_nothing
        terminal.print_json(planned.as_dict() | {"states": states, "applied": done})
        return
    if planned.changes_nothing:
        options.console.print(FITS)
        return
    if planned.other_cluster:
        noted = f"Redis notes cluster {planned.noted_cluster}, Kafka is {planned.cluster}"
        options.console.print(noted)
    options.console.print(_table(planned))
    changed = "were" if apply else "would be"
    options.console.print(
        f"{states:,} users' states {changed} changed: only up to which offsets they are applied"
    )
    if planned.other_cluster:
        options.console.print(SNAPSHOTS)
    options.console.print("Done: start sessions again." if apply else NOT_YET)


async def _adopt(where: Addresses, *, skip: bool, apply: bool) -> tuple[Plan, int]:
    """Return the plan, done where that is wanted, and how many states it changes."""
    from freshet import kafka_clients
    from freshet.contract.topics import CLICKS
    from services.cli.adopt import adoption
    from shared.kafka.log_reader import LogReader
    from shared.kafka.records import ends_of
    from shared.runtime import redis_client

    settings = endpoints.kafka_settings(where)
    redis = redis_client.connect(endpoints.redis_settings(where))
    log = LogReader(settings, CLICKS.name)
    try:
        await log.start()
        cluster = await kafka_clients.cluster_id(settings)
        count = len(await ends_of(settings, CLICKS.name))
        planned = await adoption.plan(redis, log, cluster, count, skip=skip)
        if planned.changes_nothing:
            return planned, 0
        write: Any = adoption.adopt if apply else adoption.count_states
        return planned, await write(redis, planned)
    finally:
        await log.stop()
        await redis_client.disconnect(redis)


def _table(planned: Plan) -> Table:
    """Return what becomes of each partition that does not fit."""
    numbers = ("partition", "Redis is at", "goes on at", "to apply")
    table = columns(*numbers, "why", right=numbers)
    for each in planned.adopted:
        noted = "" if each.noted is None else str(each.noted.offset)
        to_apply = f"{each.end - each.first:,}"
        table.add_row(str(each.partition), noted, str(each.first), to_apply, each.why)
    return table


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command("adopt-log")(adopt_log)
