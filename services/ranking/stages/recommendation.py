"""Hold a list on its way: what was read for it, then what each stage made of it. Pure.

Legend: c rows of the catalogue; n candidates gathered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.contract.position_tokens import PositionToken
from services.ranking.requests import RecommendQuery
from services.ranking.stages.blend import NO_ATTRIBUTES, Attributes, Ranked
from services.ranking.stages.features import Covisited, Trends
from services.ranking.stages.signals import Signals
from services.ranking.stages.sources import Candidates
from services.ranking.stages.user_profile import UserProfile

# The stages of a list, in order, as replies and metrics name them.
ADMIT: Final = "admit"
STATE: Final = "state"
CANDIDATES: Final = "candidates"
FILTER: Final = "filter"
RANK: Final = "rank"
ARRANGE: Final = "arrange"
ANSWER: Final = "answer"

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class RankingInput(NamedTuple):
    """One request with all that was read for it."""

    query: RecommendQuery
    now_ms: int  # what is available is so as of it
    as_of_ms: int  # of weights and ages: the same, but in replays
    profile: UserProfile
    signals: Signals
    covisits: Covisited
    trends: Trends
    positions: list[PositionToken]  # how far the users' partitions are in their states
    # the request's, then the first user's; trending is of the first
    segments: tuple[str, ...] = ()
    attributes: Attributes = NO_ATTRIBUTES  # of the first user, as User.features has them
    tower_query: NDArray[np.float32] | None = None  # (t,) None: no tower, or nothing to go by


@dataclass(slots=True)
class Recommendation:
    """A list and how it came to be; each stage sets what it makes."""

    input: RankingInput
    # candidates; the masks are as long as the catalogue was then, for it may grow meanwhile
    fitting: Mask = field(init=False)  # (c,) what filters allow; unset where candidates are given
    exclusions: list[tuple[str, Rows]] = field(init=False)  # what else keeps rows out; -1: none
    excluded: Mask = field(init=False)  # (c,) all of those
    gathered: Candidates = field(init=False)  # what sources proposed
    # filter
    passed: Mask = field(init=False)  # (n,) which of the gathered may be listed
    filtered: Candidates = field(init=False)  # what is left; where that was little, with more
    # rank
    ranked: Ranked = field(init=False)
    # arrange; where caps left the list short, more were ranked
    listed: Ranked = field(init=False)  # at most k, in order
    propensities: list[float] = field(init=False)  # of each place's item to stand there
