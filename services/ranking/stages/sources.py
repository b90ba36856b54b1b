"""Propose candidates, about 500 in all, as catalogue rows. Pure.

Each source returns rows; `together` unites them and remembers who proposed what. Scores come later
and for all candidates alike (services/ranking/stages/features.py).

Legend: n candidates; d dimensions; q query vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.features import Covisited, Trends
from services.ranking.stages.float16 import to_float32
from services.ranking.stages.user_profile import CONTENT_OF, UserProfile
from shared.catalogue.catalogue import Items

# Sources by the bit that marks what they proposed; the names stand in replies and impressions.
SOURCES: Final = (
    "session",
    "interests",
    "long_term",
    "content",
    "covisits",
    "trending",
    "new",
    "request",  # the caller's own candidates
    "filter",  # everything that a narrow filter leaves
    "pin",
    "popular",
    "new_place",  # not a source: stands where it does because it is new
    "tower",
)
BIT: Final = {name: 1 << number for number, name in enumerate(SOURCES)}
_BITS: Final = 16  # that stand beside a row while proposals are united
# Which sources all possible bits together name, (2^sources, sources); floats, as BLAS adds those.
_NAMED: Final = np.array(
    [[mark >> n & 1 for n in range(len(SOURCES))] for mark in range(2 ** len(SOURCES))], np.float64
)

NEAREST_EACH: Final = 60  # of each query vector; at most 8 of those
ALIKE: Final = 0.98  # cosine from which two query vectors find the same
TOWER_AT_MOST: Final = 150  # nearest to the session tower's query (README)
COVISITED_AT_MOST: Final = 150
TRENDING_ALL_AT_MOST: Final = 100
TRENDING_SCOPE_AT_MOST: Final = 40
POPULAR_AT_MOST: Final = 100
NEW_LIKED_AT_MOST: Final = 40
NEW_AT_MOST: Final = 30  # whatever their kind; more where nothing else is known
NEW_WITHOUT_TASTE: Final = 200

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


class Candidates(NamedTuple):
    """Distinct rows, ascending, and for each the bits of the sources that proposed it."""

    rows: Rows  # (n,)
    proposed: NDArray[np.int64]  # (n,)


NOTHING: Final = Candidates(np.empty(0, np.int64), np.empty(0, np.int64))


def queries(
    profile: UserProfile, items: Items, *, beside_tower: bool = False
) -> tuple[Floats, list[int]]:
    """Return what to search the index for, (q, d), and the bits of each query's sources.

    beside_tower: leave out what a session tower proposes better: what is like single tastes and
    single items of the history (README). Queries that would find the same are asked once: after
    one click all of them are alike.
    """
    vectors = [profile.session[None], profile.long_term[None]]
    bits = [BIT["session"], BIT["long_term"]]
    if not beside_tower:
        last = [like.row for like in profile.liked[:CONTENT_OF]]
        vectors += [profile.interests, to_float32(items.vectors.take(last, axis=0))]
        bits += [BIT["interests"]] * len(profile.interests) + [BIT["content"]] * len(last)
    asked = np.concatenate(vectors)
    alike = (asked @ asked.T) >= ALIKE
    distinct: list[int] = []
    for n in range(len(asked)):
        same = next((m for m in distinct if alike[n, m]), None)
        if same is None:
            distinct.append(n)
        else:
            bits[same] |= bits[n]
    return asked[distinct], [bits[n] for n in distinct]


def covisited(covisits: Covisited) -> Rows:
    """Return the rows that followed what was visited, the strongest."""
    return _strongest(covisits.rows, covisits.strength, COVISITED_AT_MOST)


def trending(trends: Trends) -> list[Rows]:
    """Return the strongest rows of each scope."""
    scopes = [*(trend for _, trend in trends.categories), trends.segment]
    everywhere = trends.all.strongest[:TRENDING_ALL_AT_MOST]
    return [everywhere, *(trend.strongest[:TRENDING_SCOPE_AT_MOST] for trend in scopes)]


def popular(trends: Trends) -> Rows:
    """Return the rows that most came to, over months."""
    return trends.popular.strongest[:POPULAR_AT_MOST]


def new(profile: UserProfile, newest: Rows, vectors: Floats) -> list[Rows]:
    """Return new items, those of a liked kind first.

    newest: living rows, the newest first, (m,), with their vectors, (m, d).
    """
    if not profile.known:
        return [newest[:NEW_WITHOUT_TASTE]]
    tastes = np.concatenate([profile.session[None], profile.long_term[None], profile.interests])
    likeness = np.ascontiguousarray((vectors @ tastes.T).T).max(axis=0)
    liked = _strongest(newest, likeness, NEW_LIKED_AT_MOST)
    return [liked, newest[:NEW_AT_MOST]]


def together(parts: Sequence[tuple[int, Rows]]) -> Candidates:
    """Unite proposals, pairs of a source's bit and rows (of any shape; below 0 there is none)."""
    if not parts:
        return NOTHING
    marked = np.concatenate([(rows.ravel() << _BITS) | bit for bit, rows in parts])
    marked.sort()  # one array of both: sorting an order for two takes twice as long
    marked = marked[marked.searchsorted(0) :]
    rows = marked >> _BITS
    if not len(rows):
        return NOTHING
    begins = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    proposed = np.bitwise_or.reduceat(marked & (2**_BITS - 1), begins)
    return Candidates(rows[begins], proposed)


@cache
def names_of(proposed: int) -> tuple[str, ...]:
    """Return the names of the sources whose bits are set."""
    return tuple(name for name, bit in BIT.items() if proposed & bit)


def counts(candidates: Candidates) -> list[tuple[str, int]]:
    """Return how many of the candidates each source proposed; more than one may propose one."""
    by_bits = np.bincount(candidates.proposed)
    by_source = by_bits @ _NAMED[: len(by_bits)]
    return [(name, int(n)) for name, n in zip(SOURCES, by_source.tolist(), strict=True) if n]


def _strongest(rows: Rows, strength: NDArray[np.floating], at_most: int) -> Rows:
    if len(rows) <= at_most:
        return rows
    return rows[np.argpartition(-strength, at_most)[:at_most]]
