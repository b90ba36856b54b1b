"""Evaluating writes one form of results, goes on where it was, and refuses in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.training.commands.app import app
from services.training.models.model import Run
from tests.unit.training.commands.models import Firsts


def run(*arguments: str | Path, fails: bool = False) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert bool(result.exit_code) == fails, (result.output, result.exception)
    return result


def evaluate(data: Path, *arguments: str) -> dict[str, Any]:
    run("evaluate", "--data", data, "--json", "r.json", *arguments)
    results: dict[str, Any] = json.loads(Path("r.json").read_text())
    return results


def test_results_have_one_form(data: Path) -> None:
    results = evaluate(data, "--models", "popularity")

    assert {name: results[name] for name in ("data", "split", "seed", "users")} == {
        "data": "films",
        "split": "leave-last-out",
        "seed": 0,
        "users": 12,
    }
    of_model = results["models"]["popularity"]
    assert {"hr@10", "ndcg@10", "mrr@10", "coverage@10", "fit_s", "parameters"} <= of_model.keys()
    low, high = of_model["ndcg@10_interval"]
    assert 0 <= low <= of_model["ndcg@10"] <= high <= 1


def test_a_table_shows_each_model(data: Path) -> None:
    said = run("evaluate", "--data", data, "--models", "popularity,firsts").output

    assert "hr@10" in said
    assert [line.split()[0] for line in said.splitlines()[1:3]] == ["popularity", "firsts"]


def test_results_tell_the_command_that_made_them(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["…/__main__.py", "evaluate", "--models", "a model"])

    results = evaluate(data, "--models", "popularity")

    assert results["command"] == "freshet evaluate --models 'a model'"


def test_what_no_device_fits_names_the_processors_whatever_the_device(data: Path) -> None:
    results = evaluate(data, "--models", "popularity", "--device", "cuda")

    assert results["models"]["popularity"]["machine"].endswith(" cores")


def test_models_of_several_calls_stand_side_by_side(data: Path) -> None:
    evaluate(data, "--models", "popularity")

    assert evaluate(data, "--models", "firsts")["models"].keys() == {"popularity", "firsts"}


def test_what_is_known_is_not_made_again_unless_asked_for(data: Path) -> None:
    first = evaluate(data, "--models", "firsts")
    assert evaluate(data, "--models", "firsts") == first
    assert Firsts.made == 1

    evaluate(data, "--models", "firsts", "--again")
    assert Firsts.made == 2


def test_a_fit_is_used_again_for_other_results(data: Path) -> None:
    evaluate(data, "--models", "firsts")
    Path("r.json").unlink()

    evaluate(data, "--models", "firsts")

    assert Firsts.made == 1


def test_another_configuration_seed_or_data_is_another_fit(data: Path) -> None:
    evaluate(data, "--models", "firsts")
    Path("c.toml").write_text("[firsts]\nshare = 0.25\n")
    results = evaluate(data, "--models", "firsts", "--config", "c.toml")
    assert results["models"]["firsts"]["config"]["share"] == 0.25
    run("evaluate", "--data", data, "--models", "firsts", "--seed", "1")
    (data / "u.data").write_text((data / "u.data").read_text() + "1\t1\t5\t999999999\n")
    run("evaluate", "--data", data, "--models", "firsts")

    assert Firsts.made == 4


def test_a_table_within_a_configuration_is_changed_where_the_file_says_so(data: Path) -> None:
    Path("c.toml").write_text("[firsts.pace]\nepochs = 3\n")

    results = evaluate(data, "--models", "firsts", "--config", "c.toml")

    config = results["models"]["firsts"]["config"]
    assert config == {"share": 0.5, "pace": {"epochs": 3, "rate": 0.1}}


def test_a_model_can_stand_by_several_names(data: Path) -> None:
    Path("c.toml").write_text('[fewer]\nmodel = "firsts"\nshare = 0.1\n')

    results = evaluate(data, "--models", "firsts,fewer", "--config", "c.toml")

    shares = {name: each["config"]["share"] for name, each in results["models"].items()}
    assert shares == {"firsts": 0.5, "fewer": 0.1}


def test_a_later_file_says_what_it_says_beside_the_former(data: Path) -> None:
    Path("a.toml").write_text("[firsts]\nshare = 0.1\npace.epochs = 3\n")
    Path("b.toml").write_text("[firsts.pace]\nepochs = 4\n")

    results = evaluate(data, "--models", "firsts", "--config", "a.toml", "--config", "b.toml")

    config = results["models"]["firsts"]["config"]
    assert config == {"share": 0.1, "pace": {"epochs": 4, "rate": 0.1}}


def test_a_variant_differs_from_its_model_as_the_files_have_that(data: Path) -> None:
    Path("c.toml").write_text('[firsts.pace]\nepochs = 3\n[fewer]\nmodel = "firsts"\nshare = 0.1\n')

    results = evaluate(data, "--models", "fewer", "--config", "c.toml")

    config = results["models"]["fewer"]["config"]
    assert config == {"share": 0.1, "pace": {"epochs": 3, "rate": 0.1}}


def test_results_of_another_protocol_are_not_overwritten(data: Path) -> None:
    evaluate(data, "--models", "popularity")

    result = run(
        *("evaluate", "--data", data, "--models", "popularity", "--json", "r.json", "--seed", "1"),
        fails=True,
    )

    assert "holds results of data films, split leave-last-out, seed 0" in str(result.exception)


def test_a_name_that_is_no_model_is_refused_before_anything_is_fitted(data: Path) -> None:
    result = run("evaluate", "--data", data, "--models", "firsts,nobody", fails=True)

    assert "a model must be one of" in str(result.exception)
    assert "was nobody" in str(result.exception)
    assert Firsts.made == 0


def test_an_unknown_setting_of_a_model_is_refused_with_its_place(data: Path) -> None:
    Path("c.toml").write_text("[firsts]\nshore = 0.25\n")

    result = run("train", "firsts", "--data", data, "--config", "c.toml", fails=True)

    assert str(result.exception) == "c.toml: [firsts]: Object contains unknown field `shore`"


def test_a_table_of_no_model_is_refused_with_its_place(data: Path) -> None:
    Path("c.toml").write_text("[first]\nshare = 0.25\n")

    result = run("train", "firsts", "--data", data, "--config", "c.toml", fails=True)

    assert str(result.exception).startswith("c.toml: [first]: a model must be one of firsts, ")


def test_no_name_of_a_model_is_refused(data: Path) -> None:
    result = run("evaluate", "--data", data, "--models", ",", fails=True)

    assert str(result.exception) == "--models must be names with commas between, or all, was ','"


def test_training_writes_a_model_that_can_be_loaded(data: Path, tmp_path: Path) -> None:
    run("train", "firsts", "--data", data, "--out", tmp_path / "out")

    assert Firsts.load(tmp_path / "out").tensors()["items"].tolist() == [15]


@pytest.mark.parametrize(("first", "days"), [("1", 6), ("0.5", 2)])
def test_training_on_the_first_half_of_a_log_learns_from_no_later_event(
    data: Path, first: str, days: int
) -> None:
    run("train", "firsts", "--data", data, "--first", first, "--out", "out")

    rows = (line.split("\t") for line in (data / "u.data").read_text().splitlines())
    # Everybody rates once on each of eight days; the last two of those there are choose and test.
    learnt = [int(rating) for _, _, rating, time in rows if int(time) < (days + 1) * 86_400]
    assert Firsts.load(Path("out")).tensors()["mean"][0] == pytest.approx(np.mean(learnt))


def test_folds_of_ratings_are_predicted_by_models_of_ratings_alone(data: Path) -> None:
    results = evaluate(data, "--models", "all", "--split", "k-fold")

    assert results["models"].keys() == {"firsts"}  # of what needs no PyTorch
    figures = results["models"]["firsts"]
    assert len(figures["rmse_folds"]) == Firsts.made == 5
    assert figures["rmse_interval"][0] <= figures["rmse"] <= figures["rmse_interval"][1]
    assert figures["mae"] <= figures["rmse"]


def test_a_model_of_no_ratings_is_refused_where_ratings_are_asked_for(data: Path) -> None:
    result = run(
        *("evaluate", "--data", data, "--models", "popularity", "--split", "k-fold"), fails=True
    )

    assert str(result.exception) == "popularity predicts no ratings, which k-fold asks for"


def test_own_history_can_be_ranked_too(data: Path) -> None:
    without = evaluate(data, "--models", "firsts")["models"]["firsts"]

    with_own = evaluate(data, "--models", "firsts", "--own-history")["models"]["firsts"]

    assert with_own["hr@10"] < without["hr@10"]
    assert with_own["coverage@10"] < without["coverage@10"]


def test_results_tell_segments_apart_and_how_a_fit_went(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learns(run: Run) -> None:
        for epoch in (1, 2):
            run.progress.step(epoch - 0.5, 2, loss=1.0, **{"best ndcg@10": 9.0})
            run.progress.step(epoch, 2, loss=1.0, **{"ndcg@10": epoch / 10})

    monkeypatch.setattr(Firsts, "while_fitted", staticmethod(learns))

    figures = evaluate(data, "--models", "firsts")["models"]["firsts"]

    assert figures["curve"] == [[1, 0.1], [2, 0.2]]
    assert figures["by"].keys() == {"history", "item_popularity", "item_age", "item_year"}
    assert sum(each["users"] for each in figures["by"]["history"].values()) == 12
    assert figures["by"]["history"]["1-20"]["ndcg@10"] == figures["ndcg@10"]


def test_each_model_is_compared_with_the_best_or_another_that_is_named(data: Path) -> None:
    evaluate(data, "--models", "firsts")
    arguments = ("evaluate", "--data", data, "--models", "popularity,firsts", "--json", "r.json")
    said = run(*arguments).output.splitlines()
    results = json.loads(Path("r.json").read_text())["models"]
    best, other = sorted(results, key=lambda name: -results[name]["ndcg@10"])
    assert said[-2].split() == f"ndcg@10 less that of {best} difference p significant".split()
    difference = results[other]["ndcg@10"] - results[best]["ndcg@10"]
    assert said[-1].split()[:2] == [other, f"{difference:+.4f}"]

    said = run(*arguments, "--against", other).output.splitlines()
    assert said[-1].split()[:2] == [best, f"{-difference:+.4f}"]


def test_ratings_are_compared_too(data: Path) -> None:
    Path("c.toml").write_text('[again]\nmodel = "firsts"\nshare = 0.1\n')
    said = run(
        *("evaluate", "--data", data, "--models", "firsts,again", "--config", "c.toml"),
        *("--split", "k-fold"),
    ).output
    assert "rmse less that of firsts" in said
    assert said.splitlines()[-1].split() == [
        "again",
        "+0.0000",
        "[+0.0000,",
        "+0.0000]",
        "1.000",
        "no",
    ]


def test_a_model_to_compare_with_that_is_not_measured_is_refused(data: Path) -> None:
    result = run(
        *("evaluate", "--data", data, "--models", "firsts", "--against", "popularity"), fails=True
    )
    assert str(result.exception) == "--against popularity: --models has only firsts"
    assert Firsts.made == 0
