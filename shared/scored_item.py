"""Hold an item as ranking scored it: what who asked for it hands to who explains the score.

Legend: f features; m other candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from freshet.contract.items import Attribute


class ScoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item's score for a user, with all that it is a function of."""

    user_id: str
    item_id: str
    title: str
    score: float
    ranker: str  # its name, as the versions of a reply say it
    names: tuple[str, ...]  # (f,) of the features
    values: tuple[float, ...]  # (f,)
    others: tuple[tuple[float, ...], ...]  # (m, f) other candidates of the same list
    weights: tuple[float, ...] | None = None  # (f,) of the blend; None: a model scored
    ranker_file: str = ""  # the model that did
    attributes: Mapping[str, Attribute] = {}  # of the user, which the model may read
