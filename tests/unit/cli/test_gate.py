"""The gate lets a bundle through that ranks no worse than what it replaces."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.models.gate import refusal

ON = {"data": "ml-1m", "split": "leave-last-out", "seed": 0}


def measured(hr: float, ndcg: float, **more: Any) -> dict[str, Any]:
    return {**ON, "hr@10": hr, "ndcg@10": ndcg, **more}


DAY_ZERO = {"hr@10": 0.27, "ndcg@10": 0.162}


@pytest.mark.parametrize(
    ("new", "passes"),
    [
        (measured(0.30, 0.18), True),
        (measured(0.294, 0.1764), True),  # 2 % below
        (measured(0.293, 0.18), False),
        (measured(0.30, 0.176), False),
        (measured(0.9, float("nan")), False),
    ],
)
def test_a_bundle_is_compared_with_the_active_one(new: dict[str, Any], passes: bool) -> None:
    assert (refusal(new, measured(0.30, 0.18), 0.02) is None) is passes


@pytest.mark.parametrize("active", [{}, measured(0.9, 0.9, seed=1), {"ndcg@10": 0.9}])
def test_where_the_active_one_was_measured_on_something_else_day_zero_counts(
    active: dict[str, Any],
) -> None:
    assert refusal(measured(0.28, 0.17, day_zero=DAY_ZERO), active, 0.0) is None
    said = refusal(measured(0.28, 0.16, day_zero=DAY_ZERO), active, 0.0)
    assert said == "ndcg@10 is 0.1600, at least 0.1620 is needed beside day zero"


def test_what_cannot_be_compared_is_refused_with_the_reason() -> None:
    assert refusal({"image_int8_to_float_cosine": 0.98}, {}, 0.1) == (
        "its manifest has no evaluation with hr@10 and ndcg@10"
    )
    assert refusal(measured(0.3, 0.2), {}, 0.1) == (
        "nothing that it could be compared with was measured on the same"
    )
