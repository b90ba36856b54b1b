"""What protos/generate writes is committed as it stands, and the contracts pass the linter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "protos" / "golden"
SCHEMAS = ROOT / "protos" / "schemas"
BUF = Path(sys.executable).with_name("buf")


def generated(folder: Path) -> dict[str, bytes]:
    patterns = ("freshet/v1/*_pb2*.py", "freshet/v1/*_pb2*.pyi", "protos/schemas/*.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in folder.glob(pattern)
    }


def test_generated_code_and_schemas_are_in_step(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "protos" / "generate", tmp_path],
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
    )
    wanted, committed = generated(tmp_path), generated(ROOT)
    assert sorted(committed) == sorted(wanted)
    assert [name for name in wanted if committed[name] != wanted[name]] == []


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, "lint"], cwd=folder, capture_output=True, text=True, check=False)


def test_contracts_are_lint_clean() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_linter_sees_the_contracts(tmp_path: Path) -> None:
    contracts = tmp_path / "protos" / "freshet" / "v1"
    contracts.mkdir(parents=True)
    for path in (ROOT / "protos" / "freshet" / "v1").glob("*.proto"):
        shutil.copy(path, contracts)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    with (contracts / "offer.proto").open("a") as file:
        file.write("message bad_name { string itemId = 1; }\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert "bad_name" in result.stdout


@pytest.mark.parametrize(
    ("golden", "schema"),
    [
        ("event", "event"),
        ("event_forget", "event"),
        ("item", "item"),
        ("item_uri", "item"),
        ("offer", "offer"),
        ("user", "user"),
    ],
)
def test_golden_json_is_valid_under_its_schema(golden: str, schema: str) -> None:
    document = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.validate(json.loads((GOLDEN / f"{golden}.json").read_text()), document)


def test_the_schema_refuses_what_the_decoder_refuses() -> None:
    document = json.loads((SCHEMAS / "event.schema.json").read_text())
    for bad in ({"user_id": "ana"}, {"user_id": "", "type": "click"}, {"user_id": 1, "type": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, document)
