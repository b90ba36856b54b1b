"""`freshet report` makes pages that need nothing beside them, the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.training.commands.app import app
from shared.inputs.refusals import BadInput
from tests.unit.training.report.test_tables import RESULT


def made(tmp_path: Path, result: object, name: str = "report") -> Path:
    file = tmp_path / "lists.json"
    file.write_text(json.dumps(result))
    said = CliRunner().invoke(app, ["report", str(file), "--out", str(tmp_path / name)])
    if said.exception is not None:
        raise said.exception
    return tmp_path / name


def test_a_report_shows_tables_and_plots_without_another_file(tmp_path: Path) -> None:
    out = made(tmp_path, RESULT)

    page, html = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "| fuxi | 0.3354 | 0.1977 [0.1900, 0.2100] |" in page
    named = re.findall(r"\]\((.*?)\)", page)
    assert named == ["lists-quality.svg", "lists-by-history.svg", "lists-cost.svg"]
    for name in named:
        assert (out / name).read_bytes().startswith(b"<?xml")
        assert name not in html
    assert html.count('src="data:image/svg+xml;base64,') == len(named)
    assert "<td>fuxi</td>" in html


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = made(tmp_path, RESULT, "first"), made(tmp_path, RESULT, "second")

    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lists\.json: must hold results of evaluate, has no split"):
        made(tmp_path, {"data": "ml-1m"})


def test_names_in_a_plot_of_costs_do_not_cover_each_other(tmp_path: Path) -> None:
    like = RESULT["models"]["fuxi"]
    models = {f"model-{n}": like for n in range(9)} | {"apart": {**like, "fit_s": 1.0}}

    out = made(tmp_path, {**RESULT, "models": models})

    drawn = (out / "lists-cost.svg").read_text()
    assert ">apart<" in drawn
    assert 1 < len(re.findall(r">model-\d<", drawn)) < 9


def test_parts_of_a_test_are_drawn_where_there_are_several(tmp_path: Path) -> None:
    parts = {"after-0": {"ndcg@10": 0.05}, "after-10": {"ndcg@10": 0.1}}
    models = {"fuxi": {**RESULT["models"]["fuxi"], "parts": parts}}

    out = made(tmp_path, {**RESULT, "models": models})

    assert "lists-parts.svg" in (out / "report.md").read_text()
    assert ">after-10<" in (out / "lists-parts.svg").read_text()
