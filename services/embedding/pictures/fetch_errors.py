"""Name what can go wrong with fetching a picture.

FetchFailed
├── Forbidden    the address may not be asked; final
├── Missing      it was asked and says there is no such picture; final
├── TooLarge     more bytes than allowed; final
└── Unreachable  no answer in time, or a server's failure; worth another try
"""

from __future__ import annotations


class FetchFailed(Exception):
    """A picture is unavailable; the text says why, without credentials or query."""


class Forbidden(FetchFailed):
    """The address may not be asked."""


class Missing(FetchFailed):
    """There is no picture at this address."""


class TooLarge(FetchFailed):
    """There are more bytes than allowed."""


class Unreachable(FetchFailed):
    """No answer in time, or a failure at the other end; transient."""
