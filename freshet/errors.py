"""Name what can go wrong, the same on both sides of a call.

FreshetError
├── InvalidRequest     a field is outside its bound; trying again changes nothing
├── NotFound           the item asked about is unknown
├── Overloaded         refused to keep the others fast; try again after `retry_after` seconds
├── Unavailable        what an answer needs cannot be reached now; try again
└── DeadlineExceeded   no answer in time

Services raise them, the call guard turns them into gRPC statuses, and the client turns those back.
What is none of these (a fault of a service, a token that is refused) is a plain FreshetError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Of a call that is refused with Overloaded: in how many ms to ask again.
PUSH_BACK_METADATA: Final = "grpc-retry-pushback-ms"
# What freshet.contract.bounds.refuse writes: `k must be between 1 and 500, was 10000`.
_REFUSAL: Final = re.compile(r"(?P<field>.+?) must be (?P<bound>.+?), was ", re.DOTALL)


class FreshetError(Exception):
    """Something that Freshet could not do; the text says what, and what would be right."""


class InvalidRequest(FreshetError):
    """A field outside its bound; the text names both, and what the value was."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        refusal = _REFUSAL.match(text)
        self.field = refusal["field"] if refusal else ""  # such as `k`; empty: the text names none
        self.bound = refusal["bound"] if refusal else ""  # such as `between 1 and 500`


class NotFound(FreshetError):
    """The item asked about is unknown."""


class Overloaded(FreshetError):
    """More calls than can be answered in time."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after  # seconds


class Unavailable(FreshetError):
    """What an answer needs cannot be reached now."""


class DeadlineExceeded(FreshetError):
    """No answer within the deadline."""


@contextmanager
def as_invalid_request() -> Iterator[None]:
    """Turn what the contract refuses (BadRecord), or no message can hold, into InvalidRequest."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(str(error)) from None
