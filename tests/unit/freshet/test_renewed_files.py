"""What is made of files follows them, and never breaks while they are being replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freshet.renewed_files import RenewedFiles


def numbers(*files: Path) -> RenewedFiles[list[int]]:
    return RenewedFiles(files, lambda: [int(file.read_text()) for file in files])


def replaced(file: Path, text: str) -> Path:
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
    return file


def test_it_is_made_once_and_again_when_a_file_was_replaced(tmp_path: Path) -> None:
    file = replaced(tmp_path / "a", "1")
    kept = numbers(file)

    first = kept.latest()
    assert first == [1]
    assert kept.latest() is first
    replaced(file, "2")
    assert kept.latest() == [2]


def test_a_link_to_another_folder_is_another_file_as_kubernetes_swaps_secrets(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(str(len(name)))
        os.utime(tmp_path / name / "file", (0, 0))
    (tmp_path / "data").symlink_to("one")
    kept = numbers(tmp_path / "data" / "file")
    (tmp_path / "next").symlink_to("two")

    (tmp_path / "next").replace(tmp_path / "data")

    before = os.stat(tmp_path / "one" / "file")
    after = os.stat(tmp_path / "data" / "file")
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    made = kept.latest()
    assert made == [3]
    assert kept.latest() is made


@pytest.mark.parametrize("broken", ["no number", ""])
def test_what_cannot_be_made_leaves_the_former_and_is_said_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = replaced(tmp_path / "a", "1")
    kept = numbers(file)

    replaced(file, broken)
    assert [kept.latest() for _ in range(3)] == [[1]] * 3
    assert len(caplog.records) == 1
    replaced(file, "3")
    assert kept.latest() == [3]


def test_a_file_that_is_away_for_a_while_leaves_the_former_and_each_time_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = replaced(tmp_path / "a", "1")
    kept = numbers(file)

    for time, text in enumerate("23", 1):
        before = kept.latest()
        file.unlink()
        assert [kept.latest() for _ in range(3)] == [before] * 3
        assert len(caplog.records) == time
        replaced(file, text)
        assert kept.latest() == [int(text)]


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    first, second = (replaced(tmp_path / name, "1") for name in "ab")
    writing = True

    def read() -> list[int]:
        texts = [first.read_text()]
        if writing and texts != ["1"]:
            replaced(second, "2")  # behind the first one's back
        return [int(text) for text in (*texts, second.read_text())]

    kept = RenewedFiles([first, second], read)
    replaced(first, "2")
    assert kept.latest() == [1, 1]  # not sure yet that the two belong together
    writing = False
    assert kept.latest() == [2, 2]


def test_a_file_that_is_not_there_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        numbers(tmp_path / "nothing")
