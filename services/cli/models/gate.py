"""Decide whether a model bundle may be served: it ranks no worse than what it replaces. Pure.

A manifest's `evaluation` has `hr@10` and `ndcg@10`, what they were measured on (`data`, `split`,
`seed`), and under `day_zero` the same two of the untrained system on the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from freshet.settings import setting

FIGURES: Final = ("hr@10", "ndcg@10")
MEASURED_ON: Final = ("data", "split", "seed")

Evaluation = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How strict the gate is."""

    tolerance: float = setting(
        "FRESHET_GATE_TOLERANCE",
        0.02,
        at_least=0,
        at_most=1,
        help="share by which figures of a published bundle may be below those it is compared with",
    )


def refusal(evaluation: Evaluation, active: Evaluation, tolerance: float) -> str | None:
    """Return why a bundle may not be served, None if it may.

    active: of the bundle that is served. Where that was not measured on the same, or not at all,
    what is needed is day zero's.
    """
    if not _measured(evaluation):
        return f"its manifest has no evaluation with {' and '.join(FIGURES)}"
    if _measured(active) and all(evaluation.get(n) == active.get(n) for n in MEASURED_ON):
        return _worse(evaluation, active, tolerance, "the active bundle")
    day_zero = evaluation.get("day_zero", {})
    if not _measured(day_zero):
        return "nothing that it could be compared with was measured on the same"
    return _worse(evaluation, day_zero, tolerance, "day zero")


def _measured(evaluation: object) -> bool:
    return isinstance(evaluation, Mapping) and all(
        isinstance(evaluation.get(name), (int, float)) for name in FIGURES
    )


def _worse(new: Evaluation, old: Evaluation, tolerance: float, whose: str) -> str | None:
    for name in FIGURES:
        least = old[name] * (1 - tolerance)
        if not new[name] >= least:  # NaN is refused, too
            return f"{name} is {new[name]:.4f}, at least {least:.4f} is needed beside {whose}"
    return None
