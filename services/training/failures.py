"""Say in one plain sentence what a person who trains can do something about."""

from __future__ import annotations

import errno
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
        return f"{named or 'where fits are kept'}: the disk is full; what was finished is kept"
    if type(error).__module__ == "aiokafka.errors":
        return f"Kafka: {error}; KAFKA_BOOTSTRAP_SERVERS says where it is"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left on device" in str(error)  # as safetensors and PyTorch write it
