"""docs/configuration.md says what the settings say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_configuration_page_is_in_step_with_the_settings() -> None:
    page = runpy.run_path(str(DOCS / "generate_configuration"))["page"]()
    assert (DOCS / "configuration.md").read_text() == page, "run docs/generate_configuration"
    assert "KAFKA_BOOTSTRAP_SERVERS" in page
    assert "FRESHET_BLEND_SESSION" in page
