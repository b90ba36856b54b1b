"""Say in one plain sentence what a person who trains can do something about."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from freshet.contract.records import BadRecord
from freshet.settings import BadSetting
from services.training.models.model import FitFailed
from shared.inputs.refusals import BadInput

PYTORCH: Final = "training needs PyTorch: `make training` installs it (3 GB) into .venv-training"


def explain(error: BaseException) -> str | None:
    """Return what to tell, None for an error that nobody expects (it keeps its trace)."""
    if isinstance(error, (BadInput, BadRecord, BadSetting, FitFailed)):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return PYTORCH if error.name == "torch" else f"{error}: `make training` installs it"
    if _is_full(error):
        named = getattr(error, "filename", None)
        where = f"{named}: the disk is full" if named else str(error)
        return f"{where}; what was finished is kept"
    if type(error).__module__ == "aiokafka.errors":
        return f"Kafka: {error}; KAFKA_BOOTSTRAP_SERVERS says where it is"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in errors of the body that name none: those of writing into an open one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)  # as safetensors and PyTorch write it
