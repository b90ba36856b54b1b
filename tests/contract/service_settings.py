"""Whether a container's environment is one that its service would start with."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from freshet.settings import from_environment
from services.cli.addresses import SERVICES

# What the freshet command reads (services/cli/addresses.py).
COMMAND = {"KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "FRESHET_DATA"} | {
    variable
    for service in SERVICES
    for variable in (
        f"FRESHET_{service.upper()}_ADDRESS",
        f"FRESHET_{service.upper()}_HEALTH_ADDRESS",
    )
}


def settings_class(service: str) -> type[Any]:
    """Return the service's settings dataclass."""
    module = importlib.import_module(f"services.{service}.settings")
    found: type[Any] = getattr(module, f"{service.capitalize()}Settings")
    return found


def variables(cls: type[Any]) -> Iterator[str]:
    """Yield the environment variables that a settings dataclass reads."""
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(kinds[field.name]):
            yield from variables(kinds[field.name])
        else:
            yield field.metadata["variable"]


def check_environment(service: str, environ: Mapping[str, str]) -> None:
    """Fail unless the service reads every variable and takes its value.

    Raises BadSetting for a value that would end the service at start.
    """
    ours = {name for name in environ if name.startswith(("FRESHET_", "KAFKA_", "REDIS_"))}
    if service == "tools":
        assert ours <= COMMAND | {"FRESHET_BIND", "FRESHET_SNAPSHOTS"}
        return
    cls = settings_class(service)
    assert ours - set(variables(cls)) <= {"FRESHET_SNAPSHOTS"}
    from_environment(cls, environ)
