"""The images, each built once a session, and what they need of the machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.images.images import Image, Store
from tests.servers import ON_CI


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Image]]:
    """Return a function that builds a target: `image("ranking")`.

    Absent tools: a failure on CI, a skip elsewhere.
    """
    lacking = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if lacking or sys.platform != "linux" or os.geteuid() != 0:
        message = "building images needs Linux, root, buildah and debootstrap"
        if ON_CI:
            pytest.fail(message)
        pytest.skip(message)
    store = Store(tmp_path_factory.mktemp("images"))
    yield store.build
    store.remove()
