"""Show what ranking answers: as tables for people, as JSON for programs."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Group, RenderableType
from rich.table import Table

from freshet.contract.items import Attribute
from freshet.contract.users import User, user_of_message
from freshet.v1.recommender_pb2 import (
    ExplainResponse,
    RankedItem,
    RecommendResponse,
    SearchResponse,
    SimilarResponse,
    StageTrace,
    StateResponse,
)
from services.cli import options
from services.cli.terminal import columns, counted, print_json

Reply = TypeVar("Reply", bound=Message)


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message in protobuf's JSON mapping, field names as in the .proto, none left out.

    64-bit integers are texts there, so that no reader rounds them.
    """
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def show(
    reply: Message,
    render: Callable[[], RenderableType],
    *,
    as_json: bool,
    hidden: Iterable[str] = (),
) -> None:
    """Print a reply: as it is for programs, less the hidden fields, rendered for people."""
    if as_json:
        print_json({n: v for n, v in as_dict(reply).items() if n not in set(hidden)})
    else:
        options.console.print(render())


def show_all(
    replies: Sequence[Reply], render: Callable[[Reply], RenderableType], *, as_json: bool
) -> None:
    """Print replies one after the other: an array for programs."""
    if as_json:
        print_json([as_dict(reply) for reply in replies])
    for reply in [] if as_json else replies:
        options.console.print(render(reply))


def ranked(
    reply: RecommendResponse | SearchResponse | SimilarResponse, *, explain: bool = False
) -> RenderableType:
    """Return a list with its reasons, and below it what was left out and how long it took."""
    arranged = any(item.HasField("rank") and item.rank != n for n, item in enumerate(reply.items))
    lines: list[RenderableType] = [
        _items(reply.items, arranged=arranged, explain=explain) if reply.items else "no items"
    ]
    if arranged:
        lines.append(
            "arranged for diversity: `by score` is an item's place by its score alone, "
            "and how many places it gained (+) or lost (-)"
        )
    timings = [f"{timing.stage} {timing.ms:.1f}" for timing in reply.timings]
    recommended = reply if isinstance(reply, RecommendResponse) else RecommendResponse()
    if recommended.trace:
        lines.append(stages(recommended.trace))
    elif timings:
        lines.append(f"ms: {' · '.join(timings)}")
    lines += [
        f"not listed: {each.item_id} (fell at {each.fate.stage}, {each.fate.cause})"
        for each in recommended.missing
    ]
    if reply.degraded:
        lines.append(f"left out: {', '.join(reply.degraded)}")
    if isinstance(reply, SimilarResponse) and reply.picture_missing:
        lines.append(f"the item's picture is missing: {reply.picture_missing}")
    return Group(*lines)


def _items(items: Sequence[RankedItem], *, arranged: bool, explain: bool) -> Table:
    names = ["", "item", "title", "score", *(["by score"] if arranged else []), "why"]
    table = columns(*names, right=("", "score", "by score"))
    if explain:
        table.columns[-1].header = "why, and what the score is the sum of"
    for number, item in enumerate(items):
        row = [str(number + 1), item.item_id, item.title, f"{item.score:.3f}"]
        if arranged:
            row.append(_place(item.rank, number))
        why = item.reason
        if explain:
            parts = [f"{part.name} {part.value:+.3f}" for part in item.contributions]
            why += f"\n{' · '.join(parts)}"
        table.add_row(*row, why)
    return table


def _place(rank: int, position: int) -> str:
    """Return the place that a score alone gives, and what the item gained by another; from 0."""
    return f"{rank + 1}" if rank == position else f"{rank + 1} ({rank - position:+d})"


def stages(trace: Iterable[StageTrace]) -> RenderableType:
    """Return what each stage of a list did with the candidates, and how many it left."""
    table = columns("stage", "ms", "what it did", "left", right=("ms", "left"))
    for stage in trace:
        steps = [_step(step.name, step.added, step.removed) for step in stage.steps]
        left_out = [f"left out: {', '.join(stage.degraded)}"] if stage.degraded else []
        left = str(stage.candidates) if stage.HasField("candidates") else ""
        table.add_row(stage.stage, f"{stage.ms:.1f}", " · ".join(steps + left_out), left)
    return table


def _step(name: str, added: int, removed: int) -> str:
    return f"{name} −{removed}" if removed else f"{name} {added}"


def explanation(reply: ExplainResponse) -> RenderableType:
    """Return an item's score, what it is made of, and whether the list holds it, or why not."""
    item, fate = reply.item, reply.fate
    table = columns("part", "value", "adds", right=("value", "adds"))
    values = {feature.name: f"{feature.value:.3f}" for feature in reply.features}
    for part in sorted(item.contributions, key=lambda part: -abs(part.value)):
        table.add_row(part.name, values.get(part.name, ""), f"{part.value:+.3f}")
    table.add_row("score", "", f"{item.score:.3f}")
    ranked = f"rank {fate.rank + 1} of {fate.ranked}" if fate.HasField("rank") else "not ranked"
    if fate.HasField("position"):
        became = f"listed at {fate.position + 1} ({ranked})"
    else:
        lowest = f"; lowest listed score {fate.lowest_listed_score:.3f}" if fate.ranked else ""
        became = f"not listed: fell at {fate.stage}, {fate.cause} ({ranked}{lowest})"
    lines: list[RenderableType] = [f"{item.item_id}  {item.title}", table, became]
    if item.reason:
        lines.insert(1, item.reason)
    return Group(*lines)


def user_state(reply: StateResponse) -> RenderableType:
    """Return a user's state, the newest event first."""
    state = reply.state
    if not reply.known:
        return f"nothing is kept of {state.user_id}"
    table = columns("time (UTC)", "event", "item", "title")
    for entry in reversed(state.history):
        time = datetime.datetime.fromtimestamp(entry.time_ms / 1000, datetime.UTC)
        table.add_row(f"{time:%Y-%m-%d %H:%M:%S}", entry.type, entry.item_id, entry.title)
    position = ", ".join(f"{part.partition}:{part.offset}" for part in state.offsets)
    lines: list[RenderableType] = [
        table if state.history else "no events",
        f"space {state.space or '(none yet)'} · "
        f"{counted(len(state.interests), 'interest')} · "
        f"{len(state.excluded)} hidden or disliked · {len(state.purchased)} bought · "
        f"position {position or '(none)'}",
    ]
    if state.full:
        lines.append(f"full: {', '.join(state.full)}; the next item there drops the oldest")
    if state.HasField("user"):
        lines.append(f"the shop says: {_said(user_of_message(state.user)) or 'nothing more'}")
    if state.forgotten_at_ms:
        forgotten = datetime.datetime.fromtimestamp(state.forgotten_at_ms / 1000, datetime.UTC)
        lines.append(f"forgotten at {forgotten:%Y-%m-%d %H:%M:%S} UTC")
    return Group(*lines)


def _said(user: User) -> str:
    """Return in a line what is said of a user beside the id."""
    named: dict[str, Attribute | None] = {"country": user.country, "language": user.language}
    named |= dict(sorted(user.attributes.items()))  # a message keeps no order
    parts = [f"segment {segment}" for segment in user.segments]
    for name, value in named.items():
        if isinstance(value, bool):
            parts.append(f"{name} {'yes' if value else 'no'}")
        elif value is not None:
            parts.append(f"{name} {value if isinstance(value, str) else format(value, 'g')}")
    return " · ".join(parts)
