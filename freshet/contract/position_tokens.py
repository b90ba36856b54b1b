"""Write and read position tokens: where in the log an event stands, `partition:offset`."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from freshet.contract.bounds import refuse

_TOKEN: Final = re.compile(r"([0-9]{1,10}):([0-9]{1,18})", re.ASCII)


class PositionToken(NamedTuple):
    """Where in `clicks` an event stands; `str` writes the token."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Write `partition:offset`."""
        return f"{self.partition}:{self.offset}"


def parse(field: str, text: str) -> PositionToken:
    """Read a token. Raises BadRecord naming the field."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) >= 2**31:
        refuse(field, "a position token, partition:offset", repr(text[:40]))
    return PositionToken(int(match[1]), int(match[2]))
