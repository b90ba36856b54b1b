"""Lock a data folder for one `freshet up`; the system drops the lock with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class AlreadyRunning(RuntimeError):
    """Another `freshet up` holds the folder; the text says which process."""


def take_lock(folder: Path) -> IO[str]:
    """Lock `folder` for this process; closing the result releases it. Raises AlreadyRunning.

    A folder that is not there yet is made for its owner alone: what people did will lie in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise AlreadyRunning(
            f"{folder} is in use by `freshet up` (process {holder}); "
            "stop that one, or choose another folder with --data"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder_of(folder: Path) -> int | None:
    """Return the process id of the `freshet up` that runs on `folder`, None when none does."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        written = (folder / "lock").read_text()
        return int(written) if written else None
    return None
