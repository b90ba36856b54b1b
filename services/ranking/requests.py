"""gRPC messages → frozen, checked values. Pure; what is out of bounds is refused by name and bound.

Every function raises BadRecord (freshet/contract/records.py), which the server answers as
INVALID_ARGUMENT: `k must be between 1 and 500, was 10000`. Lengths of text are UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple, TypeVar

import msgspec

from freshet.contract.bounds import check_id, check_ids, check_text, refuse
from freshet.v1 import recommender_pb2 as pb
from services.ranking.stages import rules
from services.ranking.stages.filter_bounds import check_filters
from services.ranking.stages.rules import K_AT_MOST, NO_RULES, Rules

K_DEFAULT: Final = 10
ALSO_AT_MOST: Final = 3
CANDIDATES_AT_MOST: Final = 1_000
EXCLUDE_AT_MOST: Final = 1_000
CONTEXT_ENTRIES: Final = 32
CONTEXT_BYTES: Final = 256
SURFACE_BYTES: Final = 64
TEXT_BYTES: Final = 1024
IMAGE_BYTES: Final = 4 * 1024 * 1024
DIVERSITY_DEFAULT: Final = 0.2
SEGMENT: Final = "segment"  # the context entry that opens a trending scope

_Kind = TypeVar("_Kind", bound=IntEnum)
_TOKEN = re.compile(r"([0-9]{1,10}):([0-9]{1,18})", re.ASCII)


class Seen(IntEnum):
    """What of a user's past a list leaves out, beside what was hidden or disliked."""

    EXCLUDE_HISTORY_AND_PURCHASES = 1
    EXCLUDE_PURCHASES = 2
    INCLUDE = 3


class By(IntEnum):
    """In what way items are alike."""

    VISUAL = 1
    TEXT = 2
    BEHAVIOUR = 3
    BLEND = 4


class Position(NamedTuple):
    """Where in `clicks` an event stands."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Write the position token `partition:offset`."""
        return f"{self.partition}:{self.offset}"


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
    rules: Rules = NO_RULES
    after: Position | None = None
    explain: bool = False
    surface: str = ""


class ItemQuery(msgspec.Struct, frozen=True, gc=False):
    """A checked SimilarRequest or SearchRequest: exactly one of item_id, text and image is set."""

    item_id: str = ""
    text: str = ""
    image: bytes = b""
    by: By = By.BLEND
    k: int = K_DEFAULT
    filters: pb.Filters = pb.Filters()
    exclude: tuple[str, ...] = ()


class ExplainQuery(msgspec.Struct, frozen=True, gc=False):
    """A checked ExplainRequest."""

    user_id: str
    item_id: str
    segment: str = ""
    rules: Rules = NO_RULES


def recommend(message: pb.RecommendRequest) -> RecommendQuery:
    """Check a RecommendRequest."""
    check_id("user_id", message.user_id)
    users: tuple[str, ...] = (message.user_id,)
    if message.also_user_ids:
        check_ids("also_user_ids", message.also_user_ids, ALSO_AT_MOST)
        users = tuple(dict.fromkeys((*users, *message.also_user_ids)))
    k = _k(message.k)
    candidates = None
    if message.candidates:
        check_ids("candidates", message.candidates, CANDIDATES_AT_MOST)
        candidates = tuple(dict.fromkeys(message.candidates))
    check_ids("exclude", message.exclude, EXCLUDE_AT_MOST)
    check_text("surface", message.surface, SURFACE_BYTES)
    if message.HasField("filters"):
        check_filters("filters", message.filters)
    diversity = DIVERSITY_DEFAULT
    if message.HasField("diversity"):
        diversity = message.diversity
        if not 0 <= diversity <= 1:
            refuse("diversity", "between 0 and 1", f"{diversity:g}")
    return RecommendQuery(
        users=users,
        k=k,
        candidates=candidates,
        segment=_segment(message.context),
        filters=message.filters,
        exclude=tuple(message.exclude),
        seen=_one_of("seen", Seen, message.seen, Seen.EXCLUDE_HISTORY_AND_PURCHASES),
        diversity=diversity,
        rules=rules.checked(message.rules, k) if message.HasField("rules") else NO_RULES,
        after=position("after", message.after),
        explain=message.explain,
        surface=message.surface,
    )


def similar(message: pb.SimilarRequest) -> ItemQuery:
    """Check a SimilarRequest."""
    kind = message.WhichOneof("query")
    if kind is None:
        refuse("query", "item_id or image", "absent")
    if kind == "item_id":
        check_id("item_id", message.item_id)
    else:
        _check_image(message.image)
    by = _one_of("by", By, message.by, By.BLEND)
    if kind == "image" and by not in (By.VISUAL, By.BLEND):
        refuse("by", "visual or blend where the query is an image", by.name.lower())
    check_filters("filters", message.filters)
    check_ids("exclude", message.exclude, EXCLUDE_AT_MOST)
    return ItemQuery(
        item_id=message.item_id,
        image=message.image,
        by=by,
        k=_k(message.k),
        filters=message.filters,
        exclude=tuple(message.exclude),
    )


def search(message: pb.SearchRequest) -> ItemQuery:
    """Check a SearchRequest."""
    kind = message.WhichOneof("query")
    if kind is None:
        refuse("query", "text or image", "absent")
    if kind == "text":
        size = len(message.text.encode())
        if not 1 <= size <= TEXT_BYTES or not message.text.strip():
            refuse("text", f"1-{TEXT_BYTES} bytes, not only spaces", f"{size} bytes")
    else:
        _check_image(message.image)
    check_filters("filters", message.filters)
    check_ids("exclude", message.exclude, EXCLUDE_AT_MOST)
    return ItemQuery(
        text=message.text,
        image=message.image,
        k=_k(message.k),
        filters=message.filters,
        exclude=tuple(message.exclude),
    )


def explain(message: pb.ExplainRequest) -> ExplainQuery:
    """Check an ExplainRequest; pins and caps are bounded as in Recommend with the largest k."""
    check_id("user_id", message.user_id)
    check_id("item_id", message.item_id)
    return ExplainQuery(
        user_id=message.user_id,
        item_id=message.item_id,
        segment=_segment(message.context),
        rules=rules.checked(message.rules, K_AT_MOST),
    )


def state(message: pb.StateRequest) -> tuple[str, Position | None]:
    """Check a StateRequest; returns the user and the position to wait for."""
    check_id("user_id", message.user_id)
    return message.user_id, position("after", message.after)


def forget(message: pb.ForgetRequest) -> str:
    """Check a ForgetRequest; returns the user."""
    check_id("user_id", message.user_id)
    return message.user_id


def position(field: str, token: str) -> Position | None:
    """Read a position token, `partition:offset`; empty is None."""
    if not token:
        return None
    match = _TOKEN.fullmatch(token)
    if match is None or int(match[1]) >= 2**31:
        refuse(field, "a position token, partition:offset", repr(token[:40]))
    return Position(int(match[1]), int(match[2]))


def _k(k: int) -> int:
    if k == 0:
        return K_DEFAULT
    if not 1 <= k <= K_AT_MOST:
        refuse("k", f"between 1 and {K_AT_MOST}", str(k))
    return k


def _check_image(image: bytes) -> None:
    if not 1 <= len(image) <= IMAGE_BYTES:
        refuse("image", f"1-{IMAGE_BYTES} bytes", f"{len(image)} bytes")


def _one_of(field: str, kinds: type[_Kind], value: int, unset: _Kind) -> _Kind:
    if value == 0:
        return unset
    try:
        return kinds(value)
    except ValueError:
        names = ", ".join(f"{kind.name} ({kind.value})" for kind in kinds)
        refuse(field, f"one of {names}", str(value))


def _segment(context: Mapping[str, str]) -> str:
    if not context:
        return ""
    if len(context) > CONTEXT_ENTRIES:
        refuse("context", f"at most {CONTEXT_ENTRIES} entries", str(len(context)))
    for name, text in context.items():
        check_text("a name in context", name, CONTEXT_BYTES)
        check_text("a value in context", text, CONTEXT_BYTES)
    return context.get(SEGMENT, "")
