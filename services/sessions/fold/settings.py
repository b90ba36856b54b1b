"""Read the numbers that decide how events become state, co-visits and trending, with reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshet.settings import setting
from shared.users.exclusions import ExclusionSettings
from shared.users.log2_weights import HalfLives
from shared.users.session_vectors import VectorSettings


@dataclass(frozen=True)
class FoldSettings:
    """Numbers of the fold; ranking must run with the same `vectors` and `half_lives`."""

    vectors: VectorSettings = field(default_factory=VectorSettings)
    half_lives: HalfLives = field(default_factory=HalfLives)
    exclusions: ExclusionSettings = field(default_factory=ExclusionSettings)
    future_ms: int = setting(
        "FRESHET_FUTURE_MS",
        60_000,
        at_least=0,
        at_most=86_400_000,
        help="ms an event's time may be ahead of its record's: clocks of phones are that wrong",
    )
    covisit_reach: int = setting(
        "FRESHET_COVISIT_REACH",
        8,
        at_least=0,
        at_most=20,
        help="items before a visit that it follows: more help small shops little and cost Redis",
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
        768,
        at_least=1,
        at_most=8_192,
        help="members of sorted sets after which a chunk ends: 12 an event, few events have more",
    )
