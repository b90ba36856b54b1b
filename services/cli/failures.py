"""Failures that a person at the terminal can do something about, each in one plain sentence."""

from __future__ import annotations

from services.cli.up.jars import JarsMissing
from services.cli.up.lock import AlreadyRunning
from services.cli.up.process import StartFailed
from shared.settings import BadSetting

SPEAK_FOR_THEMSELVES = (AlreadyRunning, BadSetting, JarsMissing, StartFailed)


def explain(error: Exception) -> str | None:
    """Return what to tell the user, None for an error that nobody expects (it keeps its trace)."""
    if isinstance(error, SPEAK_FOR_THEMSELVES):
        return str(error)
    return None
