"""What cannot be answered, in the words that the caller is told."""

from __future__ import annotations


class NotFound(LookupError):
    """The item asked about is unknown."""


class Unanswerable(Exception):
    """What an answer needs cannot be had now; the call may be tried again."""
