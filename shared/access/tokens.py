"""Tell by a bearer token who calls and what they may do; tokens are known by their hashes alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from freshet.renewed_files import RenewedFiles

AT_ONCE: Final = 2  # tokens of one name: the one in use, and the one that follows it
PREFIX: Final = "freshet_"  # by which programs that look for leaked secrets know them
_NAME: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)


class Scope(StrEnum):
    """What a token lets its holder do."""

    SERVE = "serve"  # gRPC: lists for a user; vectors of queries
    PUBLISH = "publish"  # HTTP: what users did, what there is to recommend
    READ = "read"  # HTTP: lists, and whether an event has taken effect
    PEOPLE = "people"  # what is kept of people: see it, mix it, delete it
    OPERATE = "operate"  # see how a service is, make it do things


class NotLetIn(Exception):
    """A caller that may not do this; the text says what would be right, and never a token.

    known: whether it is known who calls.
    """

    def __init__(self, what: str, scope: Scope, why: str, *, known: bool) -> None:
        super().__init__(f"{what} needs a bearer token of scope {scope}: {why}")
        self.known = known


class Token(NamedTuple):
    """One that is known: whose it is, what it is for, and its sha256."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes

    def check(self, what: str, scope: Scope) -> None:
        """Raise NotLetIn unless it is for a scope; what: is asked for."""
        if scope not in self.scopes:
            why = f"that of {self.name} is of {_listed(self.scopes)}"
            raise NotLetIn(what, scope, why, known=True)


class Tokens:
    """Knows the tokens of a file, which is read again when it changes."""

    def __init__(self, path: str) -> None:
        """Raises OSError, and ValueError for a file that holds anything else."""
        self._known = RenewedFiles([path], lambda: read_tokens(Path(path)))

    def holder(self, authorization: str | None, what: str, scope: Scope) -> Token:
        """Return the token of an `authorization` header, if it is for the scope.

        what: is asked for. Raises NotLetIn.
        """
        if authorization is None:
            raise NotLetIn(what, scope, "none was sent", known=False)
        bearer = _BEARER.fullmatch(authorization)
        token = self._find(bearer[1]) if bearer else None
        if token is None:
            raise NotLetIn(what, scope, "the one that was sent is not known", known=False)
        token.check(what, scope)
        return token

    def _find(self, secret: str) -> Token | None:
        """Look at all of them, whichever it is, so that time tells nothing."""
        digest = digest_of(secret)
        found = None
        for token in self._known.latest():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def new_token() -> str:
    """Return a token that nobody can guess: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """Return what is kept of a token. It is random, so one hash is as good as many."""
    return hashlib.sha256(token.encode()).digest()


def line_of(name: str, scopes: Iterable[Scope], token: str) -> str:
    """Return the line by which services know a token. Raises ValueError for a bad name."""
    check_name(name)
    return f"{name} {_listed(scopes, ',')} {digest_of(token).hex()}"


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read lines of name, scopes and sha256; blank ones and those that begin with # are none.

    Raises OSError, and ValueError that names the line and shows nothing of it: it may be a token.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    tokens = tuple(_tokens(text.splitlines()))
    name, count = Counter(token.name for token in tokens).most_common(1)[0] if tokens else ("", 0)
    if count > AT_ONCE:
        raise ValueError(
            f"{path}: {name} has {count} tokens, at most {AT_ONCE} may be valid at once"
        )
    return tokens


def check_tokens_file(name: str) -> None:
    """Raise ValueError unless the file that is named, if any, holds tokens."""
    try:
        if name:
            read_tokens(Path(name))
    except OSError as error:
        raise ValueError(str(error)) from None


def read_scopes(text: str) -> frozenset[Scope]:
    """Read scopes of a comma list. Raises ValueError."""
    try:
        return frozenset(Scope(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError(f"scopes must be of {_listed(Scope)}") from None


def _tokens(lines: Iterable[str]) -> Iterator[Token]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, scopes, digest = line.split()
            check_name(name)
            known = Token(name, read_scopes(scopes), bytes.fromhex(digest))
            if len(known.digest) != hashlib.sha256().digest_size:
                raise ValueError("sha256 must be 64 hexadecimal digits")
        except ValueError:
            raise ValueError(
                f"line {number} must be NAME SCOPES SHA256, as `freshet token` prints it"
            ) from None
        yield known


def check_name(name: str) -> None:
    """Raise ValueError unless a key's holder can be called so in metrics and refusals."""
    if not _NAME.fullmatch(name):
        raise ValueError("name must be 1-64 letters, digits and . _ -")


def _listed(scopes: Iterable[Scope], comma: str = ", ") -> str:
    known = set(scopes)
    return comma.join(scope for scope in Scope if scope in known)
