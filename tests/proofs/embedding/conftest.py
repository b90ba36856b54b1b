"""What the proofs need of the integration suite."""

from __future__ import annotations

from tests.integration.embedding.conftest import space

__all__ = ["space"]
