"""Start the `freshet` command, which lives with the services: in a checkout and in the images."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
HOW_TO_GET_IT: Final = """\
freshet: this installation is the client alone, without the services and their command.
From a checkout of Freshet, `make up` or `make demo` installs and starts everything in .venv;
in containers, `docker compose run --rm tools --help` has the command.
To use a running system from Python: `from freshet import Client, Publisher`.
"""


def main() -> int:
    """Run the command of the checkout that this package stands in; elsewhere say how to get it."""
    if not all(
        (CHECKOUT / name).is_file() for name in ("pyproject.toml", "services/cli/__main__.py")
    ):
        sys.stderr.write(HOW_TO_GET_IT)
        return 1
    # Only `freshet` itself is installed; the services that the command starts need the path too.
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.path.insert(0, str(CHECKOUT))
    try:
        importlib.import_module("services.cli.__main__").main()
    except KeyboardInterrupt:  # before the command began
        return 128 + signal.SIGINT
    return 0
