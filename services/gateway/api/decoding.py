"""Read what a call says, in its query and its body, into checked values.

Every function raises InvalidRequest naming field, bound and value, as freshet's contract does.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, TypeVar

import msgspec
from starlette.datastructures import QueryParams

from freshet.contract.records import shorten
from freshet.errors import InvalidRequest

Body = TypeVar("Body", bound=msgspec.Struct)

# What msgspec says of a value that is not the type's.
_TOLD: Final = re.compile(r"(?P<what>.+?)(?: - at `(?P<where>.+)`)?", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `(?P<right>.+?)`(?P<more>.*?)(?:, got `(?P<was>.+)`)?")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`")


def read_json(kind: type[Body], body: bytes) -> Body:
    """Read a JSON body."""
    try:
        decoded: Body = _decoder(kind).decode(body)
        return decoded
    except msgspec.ValidationError as error:
        raise _refusal(error, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"body must be JSON, was not: {error}") from None


def read_query(kind: type[Body], query: QueryParams, **more: Any) -> Body:
    """Read a query's parameters; more: fields that came otherwise."""
    known = of_query(kind)
    fields: dict[str, Any] = dict(more)
    for name in query:
        values = query.getlist(name)
        if name in kind.__struct_fields__ and name not in known:
            raise _must(name, "in the body of a POST", "in the query")
        if name in known and _is_list(known[name]):
            fields[name] = values
        elif len(values) > 1:
            raise _must(name, "given once", f"given {len(values)} times")
        else:
            fields[name] = values[0]
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error, kind) from None


def check_names(query: QueryParams, known: Collection[str]) -> None:
    """Refuse a parameter that says nothing here."""
    for name in query:
        if name not in known:
            raise _unknown("", name[:64], known)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON body that must be an object, of whatever fields."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"body must be JSON, was not: {error}") from None
    if not isinstance(fields, dict):
        raise _must("body", "one object", f"a {type(fields).__name__}")
    return fields


def read_number(field: str, text: str | None, at_least: float, at_most: float) -> float | None:
    """Read a number of a query or a header, None where it is absent."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not at_least <= number <= at_most:
        bound = f"a number between {at_least:g} and {at_most:g}"
        raise InvalidRequest(f"{field} must be {bound}, was {shorten(text)}")
    return number


@cache
def of_query(kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the fields that a query can hold, with their types where they are not None.

    It holds texts, numbers, flags, and lists of them; objects and bytes are for bodies.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    present = {name: _present(hint) for name, hint in hints.items()}
    return {name: hint for name, hint in present.items() if _is_plain(hint)}


def _present(hint: Any) -> Any:
    """Return an optional field's type where it is not None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    inner = [each for each in typing.get_args(hint) if each is not types.NoneType]
    return inner[0] if len(inner) == 1 else hint


def _is_list(hint: Any) -> bool:
    return typing.get_origin(_bare(hint)) is tuple


def _is_plain(hint: Any) -> bool:
    bare = _bare(hint)
    if _is_list(hint):
        return all(map(_is_plain, (each for each in typing.get_args(bare) if each is not ...)))
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return all(map(_is_plain, typing.get_args(bare)))
    return bare in (str, int, float, bool)


def _bare(hint: Any) -> Any:
    return hint.__origin__ if typing.get_origin(hint) is Annotated else hint


@cache
def _decoder(kind: type[Body]) -> msgspec.json.Decoder[Body]:
    return msgspec.json.Decoder(kind)


def _refusal(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> InvalidRequest:
    """Return what msgspec refused in the contract's words."""
    told = _TOLD.fullmatch(str(error))
    assert told is not None  # it matches any text
    what, where = told["what"], (told["where"] or "").removeprefix("$").removeprefix(".")
    if unknown := _UNKNOWN.fullmatch(what):
        name = unknown["name"][:64]
        return _unknown(where, name, () if where else kind.__struct_fields__)
    if missing := _MISSING.fullmatch(what):
        return _must(_joined(where, missing["name"]), "given", "absent")
    if wrong := _TYPE.fullmatch(what):
        right = f"of type {wrong['right'].removesuffix(' | null')}{wrong['more']}"
        return _must(where or "body", right, wrong["was"] or "another")
    return _must(where or "body", "what the API's page says", what)


def _unknown(where: str, name: str, known: Collection[str]) -> InvalidRequest:
    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return _must(_joined(where, name), f"a field that there is{hint}", "none")


def _must(field: str, bound: str, was: str) -> InvalidRequest:
    return InvalidRequest(f"{field} must be {bound}, was {was}")


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
