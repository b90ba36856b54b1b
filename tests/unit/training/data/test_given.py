"""A split may come as tables; what they name must be what is learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.training.data.given import given
from services.training.data.read import read
from services.training.data.splits import Split
from shared.inputs.refusals import BadInput


def split(folder: Path, **tables: str) -> Split:
    for name, rows in {"interactions": "u,a\nu,b\nv,b\n", **tables}.items():
        (folder / f"{name}.csv").write_text("user_id,item_id\n" + rows)
    return given(read(folder), folder)


def test_each_user_of_the_test_is_asked_for_the_first_event_there(tmp_path: Path) -> None:
    found = split(tmp_path, test="v,a\nu,b\nv,b\n", validation="u,a\n")

    ids = found.train.item_ids
    assert found.test.histories.users.tolist() == [0, 1]
    assert [ids[target] for target in found.test.targets] == ["b", "a"]
    assert [ids[item] for item in found.test.histories.of(0)] == ["a", "b"]
    assert [ids[target] for target in found.validation.targets] == ["a"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("u,new", r"test.csv:3: item_id must be one that interactions have, .* was new"),
        ("new,a", r"test.csv:3: user_id must be one that interactions have, .* was new"),
    ],
)
def test_an_id_that_only_the_test_has_is_refused_with_its_place(
    tmp_path: Path, row: str, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        split(tmp_path, test=f"v,a\n{row}\nu,b\n")


def test_without_a_test_there_is_no_split(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the split given needs test.csv"):
        split(tmp_path)
