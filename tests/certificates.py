"""Real certificates for tests: right ones, and wrong in one thing each."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import trustme

from freshet.access import Certificate

NAMES = ("127.0.0.1", "localhost")
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


class Pki:
    """A certificate authority, whose file is `ca`; what it issues are files below its folder."""

    def __init__(self, folder: Path) -> None:
        self._root = trustme.CA()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "ca.pem"
        self._root.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *names: str, expired: bool = False) -> Certificate:
        """Write NAME.pem and NAME.key, in place of those that are there; names: of this machine."""
        made = self._root.issue_cert(*(names or NAMES), not_after=YESTERDAY if expired else None)
        chain = b"".join(part.bytes() for part in made.cert_chain_pems)
        files = []
        for suffix, text in ((".pem", chain), (".key", made.private_key_pem.bytes())):
            file = self._folder / f"{name}{suffix}"
            part = file.with_suffix(".part")
            part.write_bytes(text)
            os.replace(part, file)
            files.append(str(file))
        return Certificate(*files)
