"""Servers of this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from tests.integration.cli.maven import Repository


@pytest.fixture
def repository() -> Iterator[Repository]:
    """Run a Maven repository that holds nothing."""
    with Repository() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()
