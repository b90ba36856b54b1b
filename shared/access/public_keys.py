"""Know the keys that stand in web pages: each for one origin, for users whose ids are signed.

A page shows its key to everybody, so it is no secret: it lets a browser publish what the user did
whom the shop's backend signed for, from the shop's pages, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from freshet.renewed_files import RenewedFiles
from shared.access.tokens import AT_ONCE, check_name

# As browsers write it: in lower case, without a path.
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_KEY: Final = re.compile(r"[\w-]{16,128}", re.ASCII)


class PublicKey(NamedTuple):
    """One that is known: whose it is, where pages may use it, and what user ids are signed with."""

    name: str
    origin: str
    key: str
    secret: str

    def signed(self, user_id: str, signature: str) -> bool:
        """Say whether the shop's backend signed this user's id."""
        expected = sign(user_id, self.secret)
        return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


class PublicKeys:
    """Knows the public keys of a file, which is read again when it changes."""

    def __init__(self, path: str) -> None:
        """Raises OSError, and ValueError for a file that holds anything else."""
        self._known = RenewedFiles([path], lambda: read_public_keys(Path(path)))

    def find(self, key: str) -> PublicKey | None:
        """Return the key that was shown, if it is known."""
        shown = key.encode("utf-8", "replace")
        found = None
        for known in self._known.latest():
            if hmac.compare_digest(known.key.encode(), shown):
                found = known
        return found

    @property
    def origins(self) -> frozenset[str]:
        """Return where pages may use any of them."""
        return frozenset(known.origin for known in self._known.latest())


def new_public_key(name: str, origin: str) -> PublicKey:
    """Return a key for a page. Raises ValueError for a bad name or origin."""
    check_name(name)
    check_origin(origin)
    key, secret = f"page_{secrets.token_urlsafe(16)}", f"sign_{secrets.token_urlsafe(32)}"
    return PublicKey(name, origin, key, secret)


def sign(user_id: str, secret: str) -> str:
    """Return the signature of a user's id: HMAC-SHA256 in hex, as every language has it."""
    return hmac.new(secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()


def check_origin(text: str) -> None:
    """Raise ValueError unless a text is an origin as browsers write it."""
    if not _ORIGIN.fullmatch(text):
        raise ValueError(f"origin must be such as https://shop.example.com, was {text}")


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """Read lines of name, origin, key and secret; blank ones and those with # first are none.

    Raises OSError, and ValueError that names the line and shows nothing of it.
    """
    keys = tuple(_keys(path.read_text(encoding="utf-8", errors="replace").splitlines()))
    for name, count in Counter(key.name for key in keys).items():
        if count > AT_ONCE:
            raise ValueError(f"{path}: {name} has {count} keys, at most {AT_ONCE} may be valid")
    return keys


def check_public_keys_file(name: str) -> None:
    """Raise ValueError unless the file that is named, if any, holds public keys."""
    try:
        if name:
            read_public_keys(Path(name))
    except OSError as error:
        raise ValueError(str(error)) from None


def _keys(lines: Iterable[str]) -> Iterator[PublicKey]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            known = PublicKey(*line.split())
            check_name(known.name)
            check_origin(known.origin)
            if not (_KEY.fullmatch(known.key) and _KEY.fullmatch(known.secret)):
                raise ValueError("key and secret must be 16-128 letters, digits and - _")
        except (TypeError, ValueError):
            raise ValueError(
                f"line {number} must be NAME ORIGIN KEY SECRET, as `freshet public-key` prints it"
            ) from None
        yield known
