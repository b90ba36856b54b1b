"""What decides how events become state, co-visits and trending: each number with unit and reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.session_vectors import VectorSettings
from shared.settings import setting


@dataclass(frozen=True)
class FoldSettings:
    """Numbers of the fold; `vectors` are those that ranking shares."""

    vectors: VectorSettings = field(default_factory=VectorSettings)
    future_ms: int = setting(
        "FRESHET_FUTURE_MS",
        60_000,
        at_least=0,
        at_most=86_400_000,
        help="ms an event's time may be ahead of its record's: clocks of phones are that wrong",
    )
    covisit_reach: int = setting(
        "FRESHET_COVISIT_REACH",
        5,
        at_least=0,
        at_most=20,
        help="items before an event that it follows: beyond 5 a pair says little and costs Redis",
    )
    covisit_half_life_s: float = setting(
        "FRESHET_COVISIT_HALF_LIFE_S",
        30 * 86_400.0,
        at_least=60,
        help="s until a co-visit counts half: what follows what changes with the assortment",
    )
    trending_half_life_s: float = setting(
        "FRESHET_TRENDING_HALF_LIFE_S",
        6 * 3_600.0,
        at_least=60,
        help="s until an event counts half for trending: the news of a day, not of an hour",
    )
    chunk_events: int = setting(
        "FRESHET_CHUNK_EVENTS",
        64,
        at_least=1,
        at_most=1_024,
        help="events that one script writes at most: Redis stands still meanwhile, under 2 ms",
    )
    chunk_increments: int = setting(
        "FRESHET_CHUNK_INCREMENTS",
        512,
        at_least=1,
        at_most=8_192,
        help="members of sorted sets after which a chunk ends: 8 an event, as most have fewer",
    )
