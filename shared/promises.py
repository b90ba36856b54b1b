"""State what is promised in numbers: alerts watch it, and the page shows figures beside it. Pure.

`tests/contract/test_alerts.py` holds k8s/alerts.yaml to these, and each to an edge of a bucket.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Promise(msgspec.Struct, frozen=True):
    """A share of what a histogram counts lies within a bound."""

    metric: str  # of milliseconds or seconds, as its name says
    label: str  # which of it, as PromQL selects it; empty: all
    share: float  # 0 to 1
    within_ms: float


PROMISES: Final = {  # by what the page calls the figure
    "event_to_state": Promise("freshet_event_to_state_seconds", "", 0.5, 25),
    "item_to_vector": Promise("freshet_item_to_vector_seconds", "", 0.5, 1000),
    "list_ms": Promise("freshet_request_milliseconds", 'method="Recommend"', 0.99, 50),
}
