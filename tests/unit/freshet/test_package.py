"""The names of the package: all there, light to import, the same with and without an event loop."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

import freshet
from freshet import sync
from tests.servers import ROOT
from tests.unit.freshet.programs import run

HEAVY = ("aiokafka", "grpc", "numpy", "google.protobuf", "msgspec")


def loaded_after(statement: str) -> set[str]:
    return set(run(f"import sys\n{statement}\nprint(*({HEAVY} & sys.modules.keys()))").split())


def test_importing_the_package_loads_none_of_its_dependencies() -> None:
    assert loaded_after("import freshet") == set()


def test_its_names_load_neither_grpc_nor_kafkas_client_before_the_first_call() -> None:
    names = "Client, Event, Filters, FreshetError, Item, Offer, Publisher, RankedList, Rules, sync"
    assert loaded_after(f"from freshet import {names}") == {"google.protobuf", "msgspec"}


@pytest.mark.parametrize("name", freshet.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(freshet, name) is not None
    assert name in dir(freshet)


def test_any_other_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Recommender'"):
        freshet.Recommender  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        exec("from freshet.sync import Recommender")


def test_sync_has_the_same_names() -> None:
    for name in {*freshet.__all__} - {"sync", "Client", "Publisher"}:
        assert getattr(sync, name) is getattr(freshet, name)


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(sync.Client, freshet.Client), (sync.Publisher, freshet.Publisher)]
)
def test_sync_has_the_same_methods_with_the_same_arguments(blocking: type, awaited: type) -> None:
    def methods(cls: type) -> dict[str, Callable[..., Any]]:
        found = inspect.getmembers(cls, inspect.isfunction)
        return {name: method for name, method in found if not name.startswith("_")}

    def arguments(method: Callable[..., Any]) -> list[tuple[str, object, object]]:
        parameters = inspect.signature(method).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters if each.name != "self"]

    assert methods(blocking).keys() == methods(awaited).keys()
    for name, method in methods(awaited).items():
        assert arguments(methods(blocking)[name]) == arguments(method), name
        assert methods(blocking)[name].__doc__
    assert arguments(blocking.__init__) == arguments(awaited.__init__)  # type: ignore[misc]


def test_dependencies_are_four_and_no_older_than_the_generated_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    at_least = {
        re.split(r"[>=,]+", each)[0]: re.split(r"[>=,]+", each)[1]
        for each in project["dependencies"]
    }
    messages = (ROOT / "freshet/v1/recommender_pb2.py").read_text()
    methods = (ROOT / "freshet/v1/recommender_pb2_grpc.py").read_text()

    assert sorted(at_least) == ["aiokafka", "grpcio", "msgspec", "protobuf"]
    assert f"# Protobuf Python Version: {at_least['protobuf']}\n" in messages
    assert f"GRPC_GENERATED_VERSION = '{at_least['grpcio']}'\n" in methods


def test_no_file_imports_anything_else() -> None:
    allowed = {"aiokafka", "freshet", "google", "grpc", "msgspec"} | sys.stdlib_module_names
    for path in (ROOT / "freshet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path


def test_errors_are_one_tree_and_travel_between_processes() -> None:
    for kind in ("InvalidRequest", "NotFound", "Overloaded", "Unavailable", "DeadlineExceeded"):
        assert issubclass(getattr(freshet, kind), freshet.FreshetError)
    refused = freshet.InvalidRequest("k must be between 1 and 500, was 10000")
    again = pickle.loads(pickle.dumps(refused))
    assert (str(again), again.field, again.bound) == (str(refused), "k", "between 1 and 500")
    assert pickle.loads(pickle.dumps(freshet.Overloaded("busy", 0.1))).retry_after == 0.1


def test_a_refusal_that_names_no_field_is_one_all_the_same() -> None:
    refused = freshet.InvalidRequest("not an event in application/json")
    assert (refused.field, refused.bound) == ("", "")
