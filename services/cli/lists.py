"""Show what ranking answers: as tables for people, as JSON for programs."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Group, RenderableType
from rich.table import Table

from freshet.v1.recommender_pb2 import (
    RecommendResponse,
    SearchResponse,
    SimilarResponse,
    StateResponse,
)
from services.cli import options


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message in protobuf's JSON mapping, field names as in the .proto, none left out.

    64-bit integers are texts there, so that no reader rounds them.
    """
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def show(reply: Message, render: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a reply: as it is for programs, rendered for people."""
    if as_json:
        options.print_json(as_dict(reply))
    else:
        options.console.print(render())


def ranked(
    reply: RecommendResponse | SearchResponse | SimilarResponse, *, explain: bool = False
) -> RenderableType:
    """Return a list with its reasons, and below it what was left out and how long it took."""
    table = Table(box=None, padding=(0, 2))
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    table.add_column("why")
    if explain:
        table.add_column("score is the sum of")
    for place, item in enumerate(reply.items, start=1):
        row = [str(place), item.item_id, item.title, f"{item.score:.3f}", item.reason]
        if explain:
            parts = [f"{part.name} {part.value:+.3f}" for part in item.contributions]
            row.append(" · ".join(parts))
        table.add_row(*row)
    lines: list[RenderableType] = [table if table.row_count else "no items"]
    spent = [f"{timing.stage} {timing.ms:.1f}" for timing in reply.timings]
    if spent:
        lines.append(f"ms: {' · '.join(spent)}")
    if reply.degraded:
        lines.append(f"left out: {', '.join(reply.degraded)}")
    return Group(*lines)


def user_state(reply: StateResponse) -> RenderableType:
    """Return a user's state, the newest event first."""
    state = reply.state
    if not reply.known:
        return f"nothing is kept of {state.user_id}"
    table = Table(box=None, padding=(0, 2))
    for column in ("time (UTC)", "event", "item"):
        table.add_column(column)
    for entry in reversed(state.history):
        time = datetime.datetime.fromtimestamp(entry.time_ms / 1000, datetime.UTC)
        table.add_row(f"{time:%Y-%m-%d %H:%M:%S}", entry.type, entry.item_id)
    position = ", ".join(f"{part.partition}:{part.offset}" for part in state.offsets)
    lines: list[RenderableType] = [
        table if state.history else "no events",
        f"space {state.space or '(none yet)'} · {len(state.interests)} interests · "
        f"{len(state.excluded)} hidden or disliked · {len(state.purchased)} bought · "
        f"position {position or '(none)'}",
    ]
    if state.forgotten_at_ms:
        forgotten = datetime.datetime.fromtimestamp(state.forgotten_at_ms / 1000, datetime.UTC)
        lines.append(f"forgotten at {forgotten:%Y-%m-%d %H:%M:%S} UTC")
    return Group(*lines)
