"""Say what the API asks ranking for: the contract's fields, as JSON and queries have them."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds, requests
from freshet.contract.bounds import refuse
from freshet.contract.filters import Filters
from freshet.contract.records import shorten
from freshet.contract.requests import By, Seen
from freshet.contract.rules import K_AT_MOST, Rules
from freshet.errors import as_invalid_request

# A whole number is read as its digits, as everywhere in the contract.
AnyId = Annotated[str | int, Meta(extra_json_schema={"minLength": 1, "maxLength": bounds.ID_BYTES})]
K = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": K_AT_MOST})]
Excluded = Annotated[
    tuple[AnyId, ...], Meta(extra_json_schema={"maxItems": requests.EXCLUDE_AT_MOST})
]
Context = Annotated[
    dict[str, str | float | bool],
    Meta(extra_json_schema={"maxProperties": bounds.CONTEXT_ENTRIES}),
]
Diversity = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]
Token = Annotated[
    str,
    Meta(
        description="A position token, as publishing an event answers it.",
        extra_json_schema={"pattern": "^[0-9]{1,10}:[0-9]{1,18}$"},
    ),
]
Picture = Annotated[
    bytes,
    Meta(
        description=f"JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF: at most {bounds.IMAGE_BYTES} bytes"
        " before base64. A body of type image/* holds the picture itself."
    ),
]


def _one_of(kinds: type[IntEnum]) -> Any:
    names = [kind.name.lower() for kind in kinds]
    return Annotated[str, Meta(extra_json_schema={"enum": names})]


SeenName = _one_of(Seen)
ByName = _one_of(By)


class AnyQuestion(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What every question has."""

    def arguments(self) -> dict[str, Any]:
        """Return what was given as freshet.Client takes it. Raises InvalidRequest."""
        given = {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        }
        with as_invalid_request():
            for name, kinds in (("seen", Seen), ("by", By)):
                if name in given:
                    given[name] = _member(name, kinds, given[name])
        return given


class ListQuestion(AnyQuestion, frozen=True, kw_only=True):
    """What says which items a list may hold."""

    k: K | None = None
    filters: Filters | None = None
    exclude: Excluded | None = None


class UserQuestion(ListQuestion, frozen=True, kw_only=True):
    """What says which list of a user is meant."""

    user_id: AnyId
    context: Context | None = None
    seen: SeenName | None = None  # type: ignore[valid-type]
    diversity: Diversity | None = None
    rules: Rules | None = None


class RecommendBody(UserQuestion, frozen=True, kw_only=True):
    """Asks for a user's list."""

    also_user_ids: (
        Annotated[tuple[AnyId, ...], Meta(extra_json_schema={"maxItems": requests.ALSO_AT_MOST})]
        | None
    ) = None
    candidates: (
        Annotated[
            tuple[AnyId, ...],
            Meta(extra_json_schema={"minItems": 1, "maxItems": requests.CANDIDATES_AT_MOST}),
        ]
        | None
    ) = None
    after: Token | None = None
    explain: bool | None = None
    surface: (
        Annotated[str, Meta(extra_json_schema={"maxLength": requests.SURFACE_BYTES})] | None
    ) = None
    trace: bool | None = None
    at_ms: bounds.Time | None = None


class ExplainBody(UserQuestion, frozen=True, kw_only=True):
    """Asks why an item is in a user's list, or is not."""

    item_id: AnyId


class SimilarBody(ListQuestion, frozen=True, kw_only=True):
    """Asks for what is like an item or a picture; one of the two is given."""

    item_id: AnyId | None = None
    image: Picture | None = None
    by: ByName | None = None  # type: ignore[valid-type]


class SearchBody(ListQuestion, frozen=True, kw_only=True):
    """Asks for what fits a text or a picture; one of the two is given."""

    text: (
        Annotated[
            str, Meta(extra_json_schema={"minLength": 1, "maxLength": bounds.QUERY_TEXT_BYTES})
        ]
        | None
    ) = None
    image: Picture | None = None


PICTURE_FIELD: Final = "image"


def _member(field: str, kinds: type[IntEnum], name: str) -> IntEnum:
    try:
        return kinds[name.upper()]
    except KeyError:
        refuse(field, f"one of {', '.join(kind.name.lower() for kind in kinds)}", shorten(name))
