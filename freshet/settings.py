"""Read environment variables into frozen values; refuse by variable, value and what would be right.

A service's settings are a frozen dataclass whose fields are made by `setting(...)`:

    @dataclass(frozen=True, slots=True)
    class Settings:
        port: int = setting("FRESHET_RANKING_PORT", 50051, at_least=0, at_most=65535)

    settings = from_environment(Settings, os.environ)
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class BadSetting(ValueError):
    """A variable's value cannot be used; the text names variable, value and what would be right."""


def without_password(text: str) -> str:
    """Return a URL, or what should have been one, with stars for user and password."""
    hidden = re.sub(r"\A([\w+]*://)?.*@", r"\1***@", text, flags=re.DOTALL)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)


class Form(NamedTuple):
    """How a text must be written: in words, and as a check that raises ValueError.

    shown: what a refusal may show of a text.
    """

    right: str
    check: Callable[[str], object]
    shown: Callable[[str], str] = without_password


def setting(
    variable: str,
    default: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] | None = None,
    form: Form | None = None,
    secret: bool = False,
    help: str = "",
) -> Any:
    """Declare a dataclass field that is read from an environment variable.

    form: of the text, or of each part of a comma list.
    secret: the value stands in no repr, and so in no log or traceback.
    """
    meta = {
        "variable": variable,
        "at_least": at_least,
        "at_most": at_most,
        "one_of": one_of,
        "form": form,
        "help": help,
    }
    return dataclasses.field(default=default, metadata=meta, repr=not secret)


def _boolean(text: str) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    return known[text.lower()]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_PARSERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: (_finite, "a number"),
    bool: (_boolean, "true or false"),
    tuple[str, ...]: (
        lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
        "a comma list",
    ),
}


def _bounds(meta: Mapping[str, Any]) -> str:
    low, high = meta["at_least"], meta["at_most"]
    if low is not None and high is not None:
        return f" between {low} and {high}"
    if low is not None:
        return f" of at least {low}"
    return f" of at most {high}" if high is not None else ""


def from_environment(cls: type[T], environ: Mapping[str, str]) -> T:
    """Read a settings dataclass from the environment.

    Raises BadSetting naming the variable, its value and what would be right.
    """
    values: dict[str, Any] = {}
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        meta = field.metadata
        if dataclasses.is_dataclass(kinds[field.name]):
            values[field.name] = from_environment(kinds[field.name], environ)
            continue
        text = environ.get(meta["variable"])
        if text is None:
            continue
        if meta["form"] and kinds[field.name] is str:
            values[field.name] = checked(meta["variable"], text, meta["form"])
            continue
        parse, right = _PARSERS[kinds[field.name]]
        right += _bounds(meta)
        if meta["one_of"]:
            right = "one of " + ", ".join(meta["one_of"])
        try:
            value = parse(text)
            good = (
                (meta["at_least"] is None or value >= meta["at_least"])
                and (meta["at_most"] is None or value <= meta["at_most"])
                and (meta["one_of"] is None or value in meta["one_of"])
            )
        except (ValueError, KeyError):
            good = False
        if not good:
            raise _bad(meta["variable"], right, text)
        if meta["form"]:
            for part in value:
                checked(meta["variable"], part, meta["form"])
        values[field.name] = value
    return cls(**values)


def checked(variable: str, text: str, form: Form) -> str:
    """Return a variable's text if it has its form. Raises BadSetting."""
    try:
        form.check(text)
    except ValueError:
        raise _bad(variable, form.right, form.shown(text)) from None
    return text


def _bad(variable: str, right: str, text: str) -> BadSetting:
    return BadSetting(f"{variable} must be {right}, was {without_password(text)!r}")
