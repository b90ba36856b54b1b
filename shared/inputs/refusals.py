"""Say where an input is wrong, and count what was left out for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from freshet.contract.records import BadRecord


class BadInput(ValueError):
    """An input that cannot be used; the text says where, what is wrong, what would be right."""


@contextmanager
def located(origin: str) -> Iterator[None]:
    """Say where, when the body refuses a value."""
    try:
        yield
    except (BadRecord, BadInput) as error:
        raise BadInput(f"{origin}: {error}") from None


class LeftOut:
    """Count what was left out, by kind: what a refusal says, less its place and its value."""

    SHOWN = 3  # of a kind; the others are only counted, so that a long file stays readable

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def add(self, origin: str, error: BadInput) -> bool:
        """Count a refusal that `located` gave this origin; say whether it is to be shown."""
        kind = str(error).removeprefix(f"{origin}: ").split(", was ", 1)[0]
        self.kinds[kind] += 1
        return self.kinds[kind] <= self.SHOWN

    def __str__(self) -> str:
        """Name the number of all, then of each kind, the most frequent first."""
        kinds = "".join(f"\n  {count} × {kind}" for kind, count in self.kinds.most_common())
        return f"left out {self.kinds.total()} in all:{kinds}"
