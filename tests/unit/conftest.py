"""The committed day-zero bundle, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion

DAY_ZERO = Path(__file__).parents[2] / "deploy" / "models" / "day-zero"


@pytest.fixture(scope="session")
def day_zero() -> Path:
    return DAY_ZERO


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.load(DAY_ZERO)


@pytest.fixture(scope="session")
def encoders(bundle: Bundle) -> Encoders:
    return Encoders(bundle, threads=1)


@pytest.fixture(scope="session")
def fusion(bundle: Bundle) -> Fusion:
    return Fusion.load(bundle.files["fusion.npz"])


@pytest.fixture(scope="session")
def bundle_npz(bundle: Bundle) -> bytes:
    return bundle.files["fusion.npz"]
