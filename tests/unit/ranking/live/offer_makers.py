"""Records of `offers` for tests of what stands on them."""

from __future__ import annotations

from typing import Any

from freshet.contract.offers import Offer
from freshet.contract.records import Origin
from shared.catalogue.offers import OfferChange


def offer(item_id: str, time_ms: int, *, offset: int | None = None, **fields: Any) -> OfferChange:
    """Return what an offer changes that the log has at a time."""
    return OfferChange(item_id, Offer(item_id=item_id, **fields), _origin(time_ms, offset))


def taken_back(item_id: str, time_ms: int, *, offset: int | None = None) -> OfferChange:
    """Return what the null of an offer changes."""
    return OfferChange(item_id, None, _origin(time_ms, offset))


def _origin(time_ms: int, offset: int | None) -> Origin:
    return Origin("offers", 0, time_ms if offset is None else offset, time_ms)
