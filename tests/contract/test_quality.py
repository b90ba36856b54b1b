"""docs/quality.md says what the committed results say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_on_quality_is_in_step_with_the_results() -> None:
    page = runpy.run_path(str(DOCS / "generate_quality"))["page"]()

    assert (DOCS / "quality.md").read_text() == page, "run docs/generate_quality"
    assert "| fuxi | 0.3493 [" in page
