"""What can go wrong while models are fitted is said in a sentence, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from services.training.__main__ import main
from services.training.data.histories import Floats, Histories
from services.training.models import registry
from services.training.models.model import FitFailed, Run
from tests.unit.training.commands.folders import movielens
from tests.unit.training.commands.models import Firsts

Said = pytest.CaptureFixture[str]


def said_by(capsys: Said, monkeypatch: pytest.MonkeyPatch, *arguments: str, code: int = 1) -> str:
    """Run the command; return what it says on standard error."""
    monkeypatch.setattr(sys, "argv", ["freshet", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == code
    return capsys.readouterr().err


def while_fitted(monkeypatch: pytest.MonkeyPatch, does: Callable[[Run], None]) -> None:
    monkeypatch.setattr(Firsts, "while_fitted", staticmethod(does))


def evaluated(models: str, data: Path) -> tuple[str, ...]:
    return ("evaluate", "--data", str(data), "--models", models, "--json", "r.json")


def test_ctrl_c_keeps_what_was_finished_and_ends_a_fit_that_does_not_ask(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_fitted(monkeypatch, lambda run: os.kill(os.getpid(), signal.SIGINT))

    said = said_by(capsys, monkeypatch, *evaluated("popularity,firsts", data), code=130)

    assert "interrupted; what was finished is kept" in said
    assert json.loads(Path("r.json").read_text())["models"].keys() == {"popularity"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fit_that_asks_is_ended_with_its_best_and_goes_on_next_time(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def stopped(run: Run) -> None:
        assert run.checkpoints is not None
        assert not run.stopped()
        (run.checkpoints / "kept").write_text("half way")
        os.kill(os.getpid(), number)
        assert run.stopped()

    def goes_on(run: Run) -> None:
        assert run.checkpoints is not None
        assert (run.checkpoints / "kept").read_text() == "half way"

    train = ("train", "firsts", "--data", str(data))
    while_fitted(monkeypatch, stopped)
    said = said_by(capsys, monkeypatch, *train, code=130)
    assert "ending after this step" in said
    assert "the best so far is in" in said
    assert "the same command goes on from here" in said
    (folder,) = Path(".freshet/training/films").iterdir()
    assert Firsts.load(folder).tensors()

    while_fitted(monkeypatch, goes_on)
    said_by(capsys, monkeypatch, *train, code=0)
    assert not (folder / "checkpoints").exists()


def test_what_comes_of_a_fit_that_was_ended_is_no_result(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(run: Run) -> None:
        run.stopped()
        os.kill(os.getpid(), signal.SIGINT)

    while_fitted(monkeypatch, stopped)

    said = said_by(capsys, monkeypatch, *evaluated("firsts", data), code=130)

    assert "firsts: the same command goes on with its fit" in said
    assert not Path("r.json").exists()


def test_a_figure_that_is_not_finite_ends_the_fit_and_says_where(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_fitted(monkeypatch, lambda run: run.progress.step(3, 100, loss=float("nan")))

    said = said_by(capsys, monkeypatch, "train", "firsts", "--data", str(data))

    assert "freshet: firsts: loss is nan at 3 of 100; a lower learning rate" in said


def test_a_full_disk_is_said_with_what_is_kept(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_file(tensors: object, file: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr("services.training.models.model.save_file", save_file)

    said = said_by(capsys, monkeypatch, "train", "firsts", "--data", str(data))

    assert "model.safetensors: the disk is full; what was finished is kept" in said


def test_results_that_find_no_place_are_named_and_those_of_before_kept(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    said_by(capsys, monkeypatch, *evaluated("popularity", data), code=0)
    before = Path("r.json").read_text()
    write_text = Path.write_text

    def full(path: Path, text: str) -> int:
        if path.name.startswith(".r.json"):
            write_text(path, text[:100])
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it: no name
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", full)

    said = said_by(capsys, monkeypatch, *evaluated("firsts", data))

    assert said == "freshet: r.json: the disk is full; what was finished is kept\n"
    assert Path("r.json").read_text() == before
    assert not list(Path().glob(".r.json*"))


def test_where_results_cannot_be_written_is_said_before_anything_is_fitted(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    arguments = ("evaluate", "--data", str(data), "--models", "firsts", "--json", "file/r.json")

    said = said_by(capsys, monkeypatch, *arguments)

    assert said.startswith("freshet: file: ")
    assert Firsts.made == 0


def test_scores_that_are_no_numbers_are_said_with_their_model(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(self: Firsts, histories: Histories) -> Floats:
        return np.full((len(histories), 15), np.nan, np.float32)

    monkeypatch.setattr(Firsts, "score", score)

    said = said_by(capsys, monkeypatch, *evaluated("firsts", data))

    assert said == "freshet: firsts: scores must be numbers; those of row 0 are not\n"


def test_a_model_that_the_data_do_not_suit_says_why(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(run: Run) -> None:
        raise FitFailed("it learns from ratings; films has none")

    while_fitted(monkeypatch, fails)

    said = said_by(capsys, monkeypatch, "train", "firsts", "--data", str(data))

    assert said == "freshet: firsts: it learns from ratings; films has none\n"


def test_a_kept_fit_that_cannot_be_read_is_named_and_made_again_when_asked_for(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "firsts", "--data", str(data))
    said_by(capsys, monkeypatch, *train, code=0)
    (folder,) = Path(".freshet/training/films").iterdir()
    (folder / "model.safetensors").write_bytes(b"half")

    said = said_by(capsys, monkeypatch, *train)
    assert said.startswith(f"freshet: {folder} cannot be read, --again fits it anew: ")

    said_by(capsys, monkeypatch, *train, "--again", code=0)
    assert Firsts.made == 2


def test_notes_of_a_fit_that_were_cut_off_are_no_reason_to_fail(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_fitted(monkeypatch, lambda run: run.progress.step(1, 2, **{"ndcg@10": 0.1}))
    said_by(capsys, monkeypatch, "train", "firsts", "--data", str(data), code=0)
    (folder,) = Path(".freshet/training/films").iterdir()
    with (folder / "progress.jsonl").open("a") as notes:
        notes.write('{"done": 2, "of')
    said_by(capsys, monkeypatch, *evaluated("firsts", data), code=0)
    assert json.loads(Path("r.json").read_text())["models"]["firsts"]["curve"] == [[1, 0.1]]

    (folder / "fit.json").write_text('{"model": "fi')  # as a full disk leaves it
    said_by(capsys, monkeypatch, "train", "firsts", "--data", str(data), code=0)
    assert Firsts.made == 2


def test_a_device_that_is_none_is_refused_where_a_model_would_use_it(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(count: int, *, device: str) -> None:
        raise RuntimeError("no such device\nand a long explanation")

    torch = ModuleType("torch")
    torch.empty = empty  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    on = ("--data", str(data), "--device", "gpu")
    said_by(capsys, monkeypatch, "train", "popularity", *on, code=0)
    monkeypatch.setattr(Firsts, "on_device", True)

    said = said_by(capsys, monkeypatch, "train", "firsts", *on)

    assert said == "freshet: --device gpu: no such device\n"
    assert Firsts.made == 0


def test_a_catalogue_smaller_than_a_list_is_measured(
    capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    data = movielens(tmp_path / "few", users=5, items=6, events=4)

    said_by(capsys, monkeypatch, *evaluated("popularity", data), code=0)

    assert json.loads(Path("r.json").read_text())["models"]["popularity"]["hr@10"] == 1


def test_a_fit_of_which_the_end_was_not_written_is_made_again(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "firsts", "--data", str(data))
    with monkeypatch.context() as full:
        full.setattr("services.training.models.model.save_file", lambda tensors, file: 1 / 0)
        full.setattr(sys, "argv", ["freshet", *train])
        with pytest.raises(ZeroDivisionError):
            main()

    said_by(capsys, monkeypatch, *train, code=0)

    assert Firsts.made == 2


def test_an_empty_file_is_named(data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "u.data").write_text("")

    said = said_by(capsys, monkeypatch, *evaluated("popularity", data))

    assert f"freshet: {data}/u.data: " in said


def test_a_wrong_column_is_named_with_its_file(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "ratings.csv").write_text("userId,movieId,stars,timestamp\n1,2,3,4\n")

    said = said_by(capsys, monkeypatch, *evaluated("popularity", data))

    assert f"freshet: {data}/ratings.csv: " in said
    assert "rating" in said


def test_without_pytorch_models_that_need_it_are_named_and_the_others_measured(
    data: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.MODELS, "sasrec", ("sequential.sasrec", "SASRec"))
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    for name in [name for name in sys.modules if name.startswith("services.training.models.seq")]:
        monkeypatch.delitem(sys.modules, name)

    said = said_by(capsys, monkeypatch, *evaluated("all", data), code=0)
    assert "sasrec: left out, as torch is not installed" in said
    assert {"popularity"} <= json.loads(Path("r.json").read_text())["models"].keys()

    said = said_by(capsys, monkeypatch, *evaluated("sasrec", data))
    assert "training needs PyTorch: `make training` installs it (3 GB) into .venv-training" in said
