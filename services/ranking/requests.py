"""Read gRPC messages into checked, frozen values. Pure; the bounds stand in the contract.

Every function raises BadRecord (freshet/contract/records.py), which the server answers as
INVALID_ARGUMENT: `k must be between 1 and 500, was 10000`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from freshet.contract import position_tokens
from freshet.contract.events import SEGMENT
from freshet.contract.position_tokens import PositionToken
from freshet.contract.requests import (
    K_DEFAULT,
    By,
    Seen,
    check_applied,
    check_explain,
    check_forget,
    check_recommend,
    check_search,
    check_similar,
    check_state,
)
from freshet.v1 import recommender_pb2 as pb

DIVERSITY_DEFAULT: Final = 0.2


class RecommendQuery(msgspec.Struct, frozen=True, gc=False):
    """A checked RecommendRequest. `users` begins with user_id; `candidates` None: all items."""

    users: tuple[str, ...]
    k: int = K_DEFAULT
    candidates: tuple[str, ...] | None = None
    segment: str = ""
    filters: pb.Filters = pb.Filters()
    exclude: tuple[str, ...] = ()
    seen: Seen = Seen.EXCLUDE_HISTORY_AND_PURCHASES
    diversity: float = DIVERSITY_DEFAULT
    rules: pb.Rules = pb.Rules()
    after: PositionToken | None = None
    explain: bool = False
    surface: str = ""
    trace: bool = False
    at_ms: int | None = None  # what weights and ages are of; None: now
    request_id: str = ""  # the caller's own


class ItemQuery(msgspec.Struct, frozen=True, gc=False):
    """A checked SimilarRequest or SearchRequest: exactly one of item_id, text and image is set."""

    item_id: str = ""
    text: str = ""
    image: bytes = b""
    by: By = By.BLEND
    k: int = K_DEFAULT
    filters: pb.Filters = pb.Filters()
    exclude: tuple[str, ...] = ()
    request_id: str = ""  # the caller's own


class ExplainQuery(msgspec.Struct, frozen=True, gc=False):
    """A checked ExplainRequest: an item, and the list that it is asked about."""

    item_id: str
    listing: RecommendQuery
    others: int = 0  # candidates whose features are wanted, too


def recommend(message: pb.RecommendRequest) -> RecommendQuery:
    """Check a RecommendRequest."""
    check_recommend(message)
    return _list_query(
        message,
        users=tuple(dict.fromkeys((message.user_id, *message.also_user_ids))),
        candidates=tuple(dict.fromkeys(message.candidates)) or None,
        after=_position(message.after),
        explain=message.explain,
        surface=message.surface,
        trace=message.trace,
        at_ms=message.at_ms if message.HasField("at_ms") else None,
        request_id=message.request_id,
    )


def similar(message: pb.SimilarRequest) -> ItemQuery:
    """Check a SimilarRequest."""
    check_similar(message)
    return ItemQuery(
        item_id=message.item_id,
        image=message.image,
        by=By(message.by or By.BLEND),
        k=message.k or K_DEFAULT,
        filters=message.filters,
        exclude=tuple(message.exclude),
        request_id=message.request_id,
    )


def search(message: pb.SearchRequest) -> ItemQuery:
    """Check a SearchRequest."""
    check_search(message)
    return ItemQuery(
        text=message.text,
        image=message.image,
        k=message.k or K_DEFAULT,
        filters=message.filters,
        exclude=tuple(message.exclude),
        request_id=message.request_id,
    )


def explain(message: pb.ExplainRequest) -> ExplainQuery:
    """Check an ExplainRequest."""
    check_explain(message)
    listing = _list_query(message, users=(message.user_id,))
    return ExplainQuery(message.item_id, listing, message.others)


def state(message: pb.StateRequest) -> tuple[str, PositionToken | None]:
    """Check a StateRequest; returns the user and the position to wait for."""
    check_state(message)
    return message.user_id, _position(message.after)


def applied(message: pb.AppliedRequest) -> PositionToken:
    """Check an AppliedRequest; returns the position."""
    check_applied(message)
    return position_tokens.parse("position", message.position)


def forget(message: pb.ForgetRequest) -> str:
    """Check a ForgetRequest; returns the user."""
    check_forget(message)
    return message.user_id


def _list_query(
    message: pb.RecommendRequest | pb.ExplainRequest, users: tuple[str, ...], **more: Any
) -> RecommendQuery:
    """Return a list's query from the fields that both messages have, and more of its own."""
    return RecommendQuery(
        users=users,
        k=message.k or K_DEFAULT,
        segment=message.context.get(SEGMENT, ""),
        filters=message.filters,
        exclude=tuple(message.exclude),
        seen=Seen(message.seen or Seen.EXCLUDE_HISTORY_AND_PURCHASES),
        diversity=message.diversity if message.HasField("diversity") else DIVERSITY_DEFAULT,
        rules=_complete(message.rules),
        **more,
    )


def _position(token: str) -> PositionToken | None:
    return position_tokens.parse("after", token) if token else None


def _complete(rules: pb.Rules) -> pb.Rules:
    """Return rules whose boosts have names and match items in stock or not."""
    if not rules.boosts:
        return rules
    complete = pb.Rules()
    complete.CopyFrom(rules)
    for n, boost in enumerate(complete.boosts):
        boost.match.include_out_of_stock = boost.match.include_unavailable = True
        boost.name = boost.name or f"boost-{n}"
    return complete
