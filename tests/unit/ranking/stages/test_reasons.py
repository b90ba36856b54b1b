from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.ranking.stages.blend import PARTS
from services.ranking.stages.reasons import Facts, LikedTitle, reason
from shared.users import event_types

LAMP = LikedTitle("Lamp", event_types.CLICK)
CARTED = LikedTitle("Rug", event_types.CART)


def because(part: str, **facts: Any) -> str:
    parts = np.full(len(PARTS), 0.1, np.float32)
    parts[PARTS.index(part)] = 1
    known = {"liked": [LAMP], "nearest": 0, "followed": -1, "trending_in": ""}
    return reason(parts, Facts(**{**known, **facts}))


@pytest.mark.parametrize(
    ("part", "facts", "words"),
    [
        ("session", {}, "because you clicked Lamp"),
        ("content", {"liked": [LikedTitle("Rug", event_types.VIEW)]}, "because you viewed Rug"),
        ("content", {"liked": [LikedTitle("Rug", 200)]}, "because you chose Rug"),
        (
            "session",
            {"liked": [LikedTitle("Rug", event_types.CART)]},
            "because you put Rug in your cart",
        ),
        ("session", {"nearest": -1}, "fits your visit"),
        ("interests", {}, "fits your taste: you clicked Lamp"),
        ("long_term", {"nearest": -1}, "fits your taste"),
        ("covisits", {"followed": 0}, "others went on to this from Lamp"),
        ("covisits", {}, "others went on to this"),
        ("trending", {"trending_in": "chairs"}, "trending in chairs"),
        ("trending", {}, "trending now"),
        ("popularity", {}, "popular"),
        ("new", {}, "new and like Lamp"),
        ("new", {"nearest": -1}, "new"),
        ("freshness", {}, "new"),
    ],
)
def test_the_largest_contribution_is_the_reason(
    part: str, facts: dict[str, Any], words: str
) -> None:
    assert because(part, **facts) == words


def test_an_item_that_nothing_speaks_for_has_no_reason() -> None:
    assert reason(np.full(len(PARTS), -1.0, np.float32), Facts([], -1, -1, "")) == ""
