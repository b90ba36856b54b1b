"""Keep results in a JSON file that several processes may add to.

{"data": "ml-1m", "split": "leave-last-out", "seed": 0, "users": 6040,
 "command": "freshet evaluate …", "models": {"covisits": {"hr@10": …, "fit_s": …}, …}}

Intervals of a figure stand beside it: "hr@10_interval": [low, high].
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from services.training.failures import writing
from shared.inputs.refusals import BadInput

DIGITS: Final = 6


class Results:
    """The file of one protocol: what was split how, by which seed."""

    def __init__(
        self, file: Path | None, *, data: str, split: str, seed: int, users: int, command: str
    ) -> None:
        """Open the file, which may not be there yet; None keeps nothing.

        command: what adds to it; the file holds the last one. Raises BadInput where it is of
        another protocol, OSError where none can be written.
        """
        self.file = file
        self._command = command
        self._protocol = {"data": data, "split": split, "seed": seed, "users": users}
        self._read()
        if file is not None:  # before hours of fitting, not after
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing(file), TemporaryFile(dir=file.parent):
                pass

    @property
    def models(self) -> dict[str, Any]:
        """Return what is known, by name of model."""
        models: dict[str, Any] = self._read()["models"]
        return models

    def add(
        self, name: str, told: Mapping[str, Any], figures: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Write a model's figures in place of those it had; return what is written.

        told: what tells them from others of that name. Raises OSError.
        """
        result = {**told, **_rounded(figures)}
        if self.file is None:
            return result
        with writing(self.file), _alone_in(self.file.parent):
            known = self._read()
            known["models"][name] = result
            new = self.file.with_name(f".{self.file.name}.new")
            try:
                new.write_text(json.dumps(known, indent=1) + "\n")
                new.replace(self.file)
            finally:
                new.unlink(missing_ok=True)
        return result

    def _read(self) -> dict[str, Any]:
        if self.file is None or not self.file.exists():
            return {**self._protocol, "command": self._command, "models": {}}
        try:
            known = json.loads(self.file.read_text())
            found = {name: known[name] for name in self._protocol}
            models = known["models"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self.file}: must hold results of evaluate: {error!r}") from None
        if found != self._protocol:
            raise BadInput(
                f"{self.file}: holds results of {_told(found)}, not of {_told(self._protocol)}; "
                "--json names another file"
            )
        return {**self._protocol, "command": self._command, "models": models}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep out of this folder's results whoever else wants to write any."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _rounded(value: Any) -> Any:
    """Return what can be told apart by any test; more digits only make files differ."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return value


def _told(protocol: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in protocol.items())
