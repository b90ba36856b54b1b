"""A made list → the reply's messages: ids, titles, reasons, contributions. Pure.

Legend: k items of the list; m liked items of the user; p contributions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freshet.v1 import recommender_pb2 as pb
from services.ranking.listing import Ranked, Serving, Wish
from services.ranking.stages import features, reasons, sources
from services.ranking.stages.blend import PARTS
from services.ranking.stages.float16 import widened
from services.ranking.stages.reasons import Facts, Liked
from services.ranking.stages.signals import Signals
from services.ranking.stages.similar_items import Alike
from services.ranking.stages.sources import BIT
from shared.catalogue.catalogue import Catalogue

_COVISITS = PARTS.index("covisits")
_TRENDING_ALL = features.NAMES.index("trending_all")
_TRENDING_CATEGORY = features.NAMES.index("trending_category")
_TRENDING_SEGMENT = features.NAMES.index("trending_segment")


def items_of(
    listed: Ranked,
    wish: Wish,
    signals: Signals,
    serving: Serving,
    blend_weights: NDArray[np.float32],  # reasons speak of the blend's parts, whoever ranked
    *,
    explain: bool,
) -> list[pb.RankedItem]:
    """Return the list's items as messages, in order."""
    if not len(listed.rows):
        return []
    catalogue = serving.catalogue
    liked = [
        Liked(catalogue.titles[like.row] or catalogue.ids[like.row], like.type)
        for like in wish.taste.liked
    ]
    nearest = _nearest(listed, wish, serving)
    parts = listed.features[:, : len(PARTS)] * blend_weights
    items = []
    for place, row in enumerate(listed.rows.tolist()):
        proposed = int(listed.proposed[place])
        if proposed & BIT["pin"]:
            reason = reasons.PINNED
        else:
            facts = Facts(
                liked,
                nearest[place],
                _followed(row, wish, signals, serving)
                if parts[place].argmax() == _COVISITS
                else -1,
                _trending_in(row, listed.features[place], wish),
            )
            reason = reasons.reason(parts[place], facts)
        items.append(
            pb.RankedItem(
                item_id=catalogue.ids[row],
                score=listed.scores[place],
                sources=sources.names_of(proposed),
                reason=reason,
                title=catalogue.titles[row],
                contributions=contributions(listed, place) if explain else None,
            )
        )
    return items


def contributions(listed: Ranked, place: int) -> list[pb.Contribution]:
    """Return what one item's score is made of; the values sum to it bit for bit."""
    parts = zip(listed.part_names, listed.parts[place].tolist(), strict=True)
    found = [pb.Contribution(name=name, value=value) for name, value in parts if value]
    for name, added in listed.rules:
        if added[place]:
            found.append(pb.Contribution(name=f"rule:{name}", value=added[place]))
    return found


def _nearest(listed: Ranked, wish: Wish, serving: Serving) -> list[int]:
    """Return which liked item is most like each of the list, -1 where nothing is liked."""
    if not wish.taste.liked:
        return [-1] * len(listed.rows)
    vectors = serving.catalogue.vectors
    liked = widened(vectors.take([like.row for like in wish.taste.liked], axis=0))
    cosines = widened(vectors.take(listed.rows, axis=0)) @ liked.T  # (k, m)
    nearest: list[int] = cosines.argmax(axis=1).tolist()
    return nearest


def _followed(row: int, wish: Wish, signals: Signals, serving: Serving) -> int:
    """Return the newest liked item that others went on from to this one, or -1."""
    key = serving.catalogue.keys[row]
    for place, like in enumerate(wish.taste.liked):
        followers = signals.covisits.get(like.key)
        if followers is not None and (followers.keys == key).any():
            return place
    return -1


def _trending_in(row: int, values: NDArray[np.float32], wish: Wish) -> str:
    """Return the category or segment where an item is strongest; empty where that is all."""
    everywhere = values[_TRENDING_ALL]
    if values[_TRENDING_SEGMENT] > max(everywhere, values[_TRENDING_CATEGORY]):
        return wish.query.segment
    if values[_TRENDING_CATEGORY] <= everywhere:
        return ""
    found = {}
    for name, trend in wish.trends.categories:
        place = int(np.searchsorted(trend.rows, row))
        if place < len(trend.rows) and trend.rows[place] == row:
            found[name] = float(trend.share[place])
    return max(found, key=found.__getitem__, default="")


_ALIKE_REASONS = {
    "visual": "looks like {}",
    "text": "reads like {}",
    "content": "like {}",
    "covisits": "others went on to this from {}",
    "title": "its title fits {}",
}


def alike_items(found: Alike, catalogue: Catalogue, of: str) -> list[pb.RankedItem]:
    """Return what is like a query as messages, in order; of: the query, as reasons call it."""
    items = []
    scores = found.scores
    for place, row in enumerate(found.rows.tolist()):
        parts = found.parts[place]
        contributed = [
            pb.Contribution(name=name, value=value)
            for name, value in zip(found.names, parts.tolist(), strict=True)
            if value
        ]
        items.append(
            pb.RankedItem(
                item_id=catalogue.ids[row],
                score=scores[place],
                sources=[part.name for part in contributed],
                reason=_ALIKE_REASONS[found.names[int(parts.argmax())]].format(of),
                title=catalogue.titles[row],
                contributions=contributed,
            )
        )
    return items
