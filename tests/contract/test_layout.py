"""The code lies as the map says: rooms of a size, one class for one name, paths that are there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT

FILES_AT_MOST = 14
ROOMS = ("services", "shared")
PACKAGES = ("freshet", "services", "shared")
MAPS = ("CONTRIBUTING.md", "README.md", "docs/architecture.md")
# A docstring says what a file does; these begin a sentence about what it is.
NO_VERBS = {"A", "All", "An", "Each", "Every", "How", "Its", "One", "That", "The", "These", "This"}
NO_VERBS |= {"What", "When", "Where", "Whether", "Which", "Who", "Why"}


def modules() -> list[Path]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return [path for path in found if not path.is_relative_to(ROOT / "freshet" / "v1")]


def folders() -> Iterator[Path]:
    for room in ROOMS:
        every = [ROOT / room, *(ROOT / room).rglob("*")]
        yield from (path for path in every if path.is_dir() and path.name != "__pycache__")


def test_no_folder_shows_more_files_than_one_look_takes_in() -> None:
    sizes = {
        str(folder.relative_to(ROOT)): len([path for path in folder.iterdir() if path.is_file()])
        for folder in folders()
    }

    assert {name: size for name, size in sizes.items() if size > FILES_AT_MOST} == {}
    assert max(sizes.values()) > 5  # else nothing was counted


def test_no_class_name_stands_twice() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert {name: files for name, files in where.items() if len(files) > 1} == {}
    assert len(where) > 100


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_first_what_it_does(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if not tree.body:
        return  # an empty __init__.py
    said = ast.get_docstring(tree)
    assert said, "no docstring"
    assert re.match(r"[A-Z][a-z-]+\b", said), said.splitlines()[0]
    assert said.split()[0] not in NO_VERBS, said.splitlines()[0]


def tracked(*patterns: str) -> list[str]:
    """Return the project's own files: what a run leaves behind is none."""
    command = ["git", "ls-files", *patterns]
    return subprocess.check_output(command, cwd=ROOT, text=True).split()


def named_paths(text: str) -> set[str]:
    """Return what a page names in backticks or links that can only be a path of the project."""
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    quoted = [word for word in re.findall(r"`([^`\s]+)`", text) if "/" in word]
    tops = {path.split("/")[0] for path in tracked()}
    own = [word for word in quoted if word.split("/")[0] in tops and "*" not in word]
    return {*linked, *own}


@pytest.mark.parametrize("page", MAPS)
def test_every_path_that_a_map_names_is_there(page: str) -> None:
    named = named_paths((ROOT / page).read_text())
    folder = (ROOT / page).parent

    assert named
    missing = {
        path for path in named if not (ROOT / path).exists() and not (folder / path).exists()
    }
    assert missing == set()


def test_the_command_for_a_measurement_is_a_module_that_is_there() -> None:
    named = {
        module
        for page in tracked("*.md")
        for module in re.findall(r"python -m (tests\.[a-z_.]+)", (ROOT / page).read_text())
    }

    assert named
    assert {m for m in named if not (ROOT / f"{m.replace('.', '/')}.py").is_file()} == set()
