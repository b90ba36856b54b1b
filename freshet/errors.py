"""Name what can go wrong, the same on both sides of a call.

FreshetError
├── InvalidRequest     a field is outside its bound; trying again changes nothing
├── NotFound           the item asked about is unknown
├── Overloaded         refused to keep the others fast; try again after `retry_after` seconds
├── Unavailable        what an answer needs cannot be reached now; try again
└── DeadlineExceeded   no answer in time

Services raise them, the call guard turns them into gRPC statuses, and the client turns those back.
"""

from __future__ import annotations


class FreshetError(Exception):
    """Something that Freshet could not do; the text says what, and what would be right."""


class InvalidRequest(FreshetError):
    """A field outside its bound."""

    def __init__(self, text: str, field: str = "", bound: str = "") -> None:
        super().__init__(text)
        self.field = field  # such as `k`; empty where the text names none
        self.bound = bound  # such as `between 1 and 500`


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
