"""Whether a container's environment is one that its service would start with."""

from __future__ import annotations

import atexit
import dataclasses
import importlib
import shutil
import tempfile
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from freshet.access import Access
from freshet.settings import from_environment
from services.cli.addresses import SERVICES
from services.cli.keys.issue import CA, CERTIFICATE, KEY, TOKENS, write_keys
from shared.access.door import Door

# What the freshet command reads (services/cli/addresses.py).
COMMAND = {"KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "FRESHET_DATA"} | {
    variable
    for service in SERVICES
    for variable in (
        f"FRESHET_{service.upper()}_ADDRESS",
        f"FRESHET_{service.upper()}_HEALTH_ADDRESS",
    )
}
# Of all images, or all pods, whether they read it or not.
EVERYWHERE = {"FRESHET_SNAPSHOTS", "FRESHET_BUNDLES", "REDIS_URL"}


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
    with_files = {**environ, **{name: file for name, file in key_files().items() if name in ours}}
    if service == "tools":
        assert ours <= COMMAND | set(variables(Access)) | {"FRESHET_BIND"} | EVERYWHERE
        from_environment(Access, with_files)
        return
    cls = settings_class(service)
    assert ours - set(variables(cls)) <= EVERYWHERE
    Door(from_environment(cls, with_files).door)


@cache
def key_files() -> dict[str, str]:
    """Return a file as `freshet keys` makes them for each variable that names one."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    write_keys(folder)
    files = {
        "FRESHET_TLS_CA_FILE": CA,
        "FRESHET_TLS_CERT_FILE": CERTIFICATE,
        "FRESHET_TLS_KEY_FILE": KEY,
        "FRESHET_TOKENS_FILE": TOKENS,
        "FRESHET_TOKEN_FILE": "ranking.token",
    }
    return {variable: str(folder / name) for variable, name in files.items()}
