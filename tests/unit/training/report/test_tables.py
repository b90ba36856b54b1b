"""Results are told as they stand: the best first, intervals beside, only what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.training.evaluation.comparison import of_lists
from services.training.evaluation.ranks import ndcg
from services.training.report import tables

COSTS = {"fit_s": 98.4, "parameters": 3416, "machine": "two cores", "score_us": 40.2}
RESULT: dict[str, Any] = {
    "data": "ml-1m",
    "split": "leave-last-out",
    "seed": 0,
    "users": 6040,
    "models": {
        "popularity": {"hr@10": 0.0369, "ndcg@10": 0.018, **COSTS, "fit_s": 0.1},
        "fuxi": {
            "hr@10": 0.3354,
            "ndcg@10": 0.1977,
            "ndcg@10_interval": [0.19, 0.21],
            "parts": {"among-new": {"hr@50": 0.4}},
            "by": {
                "history": {
                    "1-50": {"users": 2000, "ndcg@10": 0.17},
                    "over 50": {"users": 4040, "ndcg@10": 0.21},
                },
                "item_age": {"never learnt": {"users": 6040, "ndcg@10": 0.1977}},
            },
            **COSTS,
        },
    },
}


def test_the_best_model_stands_first_with_its_interval() -> None:
    assert tables.quality(RESULT).splitlines() == [
        "| model | hr@10 | ndcg@10 |",
        "| --- | ---: | ---: |",
        "| fuxi | 0.3354 | 0.1977 [0.1900, 0.2100] |",
        "| popularity | 0.0369 | 0.0180 |",
    ]


def test_chosen_figures_are_of_those_who_have_any() -> None:
    models = {"tower": {"ndcg@10": 0.2, "index_recall@50": 0.99}, "als": {"ndcg@10": 0.1}}

    assert tables.figures({"models": models}, "index_recall@50").splitlines() == [
        "| model | index recall@50 |",
        "| --- | ---: |",
        "| tower | 0.9900 |",
    ]


def test_of_errors_the_least_stands_first() -> None:
    folds = {"models": {"svd": {"rmse": 0.934}, "mean": {"rmse": 1.126}, "other": {"rmse": 0.95}}}

    assert [name for name, _ in tables.by_quality(folds)] == ["svd", "other", "mean"]


def test_costs_begin_with_the_cheapest() -> None:
    assert tables.costs(RESULT).splitlines()[2:] == [
        "| popularity | 0.1 | 3,416 | 40 | two cores |",
        "| fuxi | 98.4 | 3,416 | 40 | two cores |",
    ]


def test_parts_and_segments_are_of_those_who_have_them() -> None:
    assert tables.parts(RESULT, "hr@50").splitlines()[2:] == ["| fuxi |  | 0.4000 |"]
    assert list(tables.segmented(RESULT)) == ["history"]
    assert tables.segments(RESULT, "history").splitlines() == [
        "| ndcg@10 | 1-50 (2,000) | over 50 (4,040) |",
        "| --- | ---: | ---: |",
        "| fuxi | 0.1700 | 0.2100 |",
    ]
    assert tables.segments(RESULT, "item_year") == ""


def test_the_protocol_is_a_sentence() -> None:
    assert tables.protocol(RESULT) == "ml-1m, leave-last-out, 6,040 users asked, seed 0"


def test_how_it_was_measured_tells_the_command_and_what_fits_took_where() -> None:
    models = {
        "als": {"fit_s": 100.0, "machine": "16 cores"},
        "ease": {"fit_s": 50.4, "machine": "16 cores"},
        "fuxi": {"fit_s": 98.4, "machine": "one GPU"},
    }

    assert tables.measured({**RESULT, "command": "freshet evaluate", "models": models}) == (
        "    freshet evaluate\n\n"
        "6,040 users, seed 0; fits: 3 minutes on 16 cores, 98 s on one GPU.\n"
    )


def test_where_nothing_was_fitted_it_tells_how_long_measuring_took() -> None:
    lists = {"served": {"took_s": 600.0, "machine": "two cores"}}

    assert tables.measured({**RESULT, "models": lists}) == (
        "\n6,040 users, seed 0; measured in 10 minutes on two cores.\n"
    )


def test_a_fit_of_folds_counts_for_each_of_them() -> None:
    svd = {"fit_s": 20.0, "machine": "two cores", "rmse_folds": [0.93] * 5}

    assert "fits: 100 s on two cores" in tables.measured({**RESULT, "models": {"svd": svd}})


def test_models_are_compared_with_the_best_the_nearest_first() -> None:
    ranks = np.tile([0.0, 1.0, 2.0, 30.0], 50)
    models = {
        name: {"ndcg@10": float(ndcg(said, 10).mean()), "of_users": of_lists(said)}
        for name, said in (("worst", ranks + 5), ("near", ranks + 0.5), ("best", ranks))
    }
    lines = tables.comparisons({"models": models, "seed": 0}).splitlines()
    assert lines[0] == "| ndcg@10 less that of best | difference | p | significant |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| near", "| worst"]
    assert all(line.endswith("| 0.002 | yes |") for line in lines[2:]), "twice 1 of 1,001"
    against = tables.comparisons({"models": models, "seed": 0}, "near").splitlines()
    assert [line.split(" | ")[0] for line in against[2:]] == ["| best", "| worst"]
    assert "| best | +0." in against[2]


def test_results_that_keep_too_little_are_not_compared() -> None:
    assert tables.comparisons(RESULT) == ""


def test_a_variant_stands_under_its_model_with_its_difference() -> None:
    ranks = np.tile([0.0, 1.0, 2.0, 30.0], 50)
    models = {
        name: {"model": model, "ndcg@10": float(ndcg(said, 10).mean()), "of_users": of_lists(said)}
        for name, model, said in (
            ("alone", "alone", ranks),
            ("tower-plain", "tower", ranks + 5),
            ("tower", "tower", ranks),
        )
    }

    lines = tables.variants({"models": models, "seed": 0}).splitlines()

    assert lines[0] == "| variant | ndcg@10 | less its model's | p | significant |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| tower-plain", "| tower"]
    assert "| -0." in lines[2]
    assert lines[3].endswith("|  |  |  |")
