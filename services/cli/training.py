"""Start the training commands where PyTorch is: it is no part of what the services need."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

from freshet.command import CHECKOUT
from freshet.settings import from_environment, setting
from services.cli.addresses import default_data_folder, find_addresses

FROM_TOPICS: Final = "--from-topics"  # asks for Kafka, as `freshet up` runs it or as is set
OWN_PYTHON: Final = Path(".venv-training/bin/python")  # as `make training` installs it


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What the training commands run in."""

    python: str = setting(
        "FRESHET_TRAINING_PYTHON",
        "",
        help="a Python with PyTorch; empty: this one, else the checkout's .venv-training",
    )


def python_of(environ: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Return the interpreter to train in: one with PyTorch, else this one, for what needs none."""
    if named := from_environment(TrainingSettings, environ).python:
        return named
    own = checkout / OWN_PYTHON
    return sys.executable if find_spec("torch") or not own.exists() else str(own)


def become(command: str, arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Go on as the training command, which so gets the terminal and its signals. Raises OSError."""
    if FROM_TOPICS in arguments:
        where = find_addresses(default_data_folder(), environ)
        environ = {**environ, "KAFKA_BOOTSTRAP_SERVERS": where.kafka}
    line, environ = command_of(command, arguments, environ)
    os.execve(line[0], line, environ)


def command_of(
    command: str, arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """Return the command line of a training command, and its environment."""
    paths = [str(CHECKOUT), *filter(None, [environ.get("PYTHONPATH")])]
    line = [python_of(environ), "-m", "services.training", command, *arguments]
    return line, {**environ, "PYTHONPATH": os.pathsep.join(paths)}
