"""Bound what ranking is asked, the same on both sides: the client before it sends, then the server.

Every function raises BadRecord naming field, bound and value: `k must be between 1 and 500, was
10000`. Lengths of text are UTF-8 bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from freshet.contract import position_tokens
from freshet.contract.bounds import (
    check_context,
    check_id,
    check_ids,
    check_query_image,
    check_query_text,
    check_text,
    check_time,
    refuse,
    shorten_number,
)
from freshet.contract.filters import CONDITION_COST, VALUE_COST, check_filters, filters_cost
from freshet.contract.rules import K_AT_MOST, RULES_AT_MOST, check_rules
from freshet.v1 import recommender_pb2 as pb

K_DEFAULT: Final = 10  # for a k of 0, which is an absent one
ALSO_AT_MOST: Final = 3
CANDIDATES_AT_MOST: Final = 1_000
EXCLUDE_AT_MOST: Final = 1_000
COST_AT_MOST: Final = 4_096  # of a list's filters and boosts together; one filter's is below 1,500
SURFACE_BYTES: Final = 64
OTHERS_AT_MOST: Final = 500


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


def check_recommend(request: pb.RecommendRequest) -> None:
    """Check a request for a user's list."""
    check_id("user_id", request.user_id)
    check_ids("also_user_ids", request.also_user_ids, ALSO_AT_MOST)
    check_ids("candidates", request.candidates, CANDIDATES_AT_MOST)
    check_text("surface", request.surface, SURFACE_BYTES)
    if request.HasField("at_ms"):
        check_time("at_ms", request.at_ms)
    _check_list(request)
    if request.HasField("rules"):
        check_rules(request.rules, request.k or K_DEFAULT)
    _check_after(request.after)


def check_similar(request: pb.SimilarRequest) -> None:
    """Check a request for what is like an item or a picture."""
    kind = request.WhichOneof("query")
    if kind is None:
        refuse("query", "item_id or image", "absent")
    if kind == "item_id":
        check_id("item_id", request.item_id)
    else:
        check_query_image(request.image)
    check_one_of("by", By, request.by)
    if kind == "image" and request.by not in (0, By.VISUAL, By.BLEND):
        name = By(request.by).name.lower()
        refuse("by", "visual or blend where the query is an image", name)
    _check_items_asked_for(request)


def check_search(request: pb.SearchRequest) -> None:
    """Check a request for what fits a text or a picture."""
    kind = request.WhichOneof("query")
    if kind is None:
        refuse("query", "text or image", "absent")
    if kind == "text":
        check_query_text(request.text)
    else:
        check_query_image(request.image)
    _check_items_asked_for(request)


def check_state(request: pb.StateRequest) -> None:
    """Check a request for a user's state."""
    check_id("user_id", request.user_id)
    _check_after(request.after)


def check_explain(request: pb.ExplainRequest) -> None:
    """Check a request for a score's parts; pins and caps have the bounds of the largest list."""
    check_id("user_id", request.user_id)
    check_id("item_id", request.item_id)
    _check_list(request)
    check_rules(request.rules, K_AT_MOST)
    if not 0 <= request.others <= OTHERS_AT_MOST:
        refuse("others", f"between 0 and {OTHERS_AT_MOST}", shorten_number(request.others))


def check_forget(request: pb.ForgetRequest) -> None:
    """Check a request to forget a user."""
    check_id("user_id", request.user_id)


def check_applied(request: pb.AppliedRequest) -> None:
    """Check a request for whether an event has taken effect."""
    position_tokens.parse("position", request.position)


def check_k(k: int) -> None:
    """Check the length that a list is asked for with."""
    if not 1 <= k <= K_AT_MOST:
        refuse("k", f"between 1 and {K_AT_MOST}", shorten_number(k))


def check_one_of(field: str, kinds: type[IntEnum], value: object) -> None:
    """Check that a value is one of an enum's; 0 leaves the choice to the service."""
    if value and value not in kinds._value2member_map_:
        names = ", ".join(f"{kind.name} ({kind.value})" for kind in kinds)
        refuse(field, f"one of {names}", str(value))


def _check_list(request: pb.RecommendRequest | pb.ExplainRequest) -> None:
    _check_cost(request)
    _check_items_asked_for(request)
    if request.HasField("diversity") and not 0 <= request.diversity <= 1:
        refuse("diversity", "between 0 and 1", f"{request.diversity:g}")
    check_context(request.context)
    check_one_of("seen", Seen, request.seen)


def _check_cost(request: pb.RecommendRequest | pb.ExplainRequest) -> None:
    """Check what the filters and boosts cost together: each is bounded, their product is not."""
    boosts = request.rules.boosts[:RULES_AT_MOST]  # more are refused for their number
    cost = filters_cost(request.filters) + sum(filters_cost(each.match) for each in boosts)
    if cost > COST_AT_MOST:
        units = f"{CONDITION_COST} a condition, {VALUE_COST} a value"
        refuse("the cost of filters and boosts", f"at most {COST_AT_MOST} ({units})", str(cost))


def _check_items_asked_for(
    request: pb.RecommendRequest | pb.ExplainRequest | pb.SimilarRequest | pb.SearchRequest,
) -> None:
    check_k(request.k or K_DEFAULT)
    check_ids("exclude", request.exclude, EXCLUDE_AT_MOST)
    if request.HasField("filters"):
        check_filters("filters", request.filters)
    if not isinstance(request, pb.ExplainRequest) and request.request_id:
        check_id("request_id", request.request_id)


def _check_after(token: str) -> None:
    if token:
        position_tokens.parse("after", token)
