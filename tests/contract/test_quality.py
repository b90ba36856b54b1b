"""docs/quality.md says what the committed results say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "quality.md").read_text()

filled = runpy.run_path(str(DOCS / "generate_quality"))["filled"]


def test_the_page_on_quality_is_in_step_with_the_results() -> None:
    assert filled(PAGE) == PAGE, "run docs/generate_quality"
    assert "| fuxi | 0.3493 [" in PAGE


def test_every_result_has_its_table_on_the_page() -> None:
    for result in (DOCS / "quality").glob("*.json"):
        assert f" {result.stem} " in PAGE or f" {result.stem} -->" in PAGE, result.name


def test_what_somebody_wrote_into_a_table_is_made_again() -> None:
    assert filled(PAGE.replace("0.3493", "0.9999")) == PAGE


def test_words_around_a_table_are_left_as_they_are() -> None:
    assert filled("before\n<!-- quality ml-1m-new-items -->\n<!-- end -->\nafter").startswith(
        "before\n<!-- quality ml-1m-new-items -->\n\n| model | hr@10 |"
    )


def test_a_table_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("<!-- beauty ml-1m-new-items -->\n<!-- end -->")
