"""Name what a list does without, as `degraded` says it, and the shares of time that reads have.

services/ranking/README.md explains each to callers.
"""

from __future__ import annotations

from typing import Final

STATE_UNAVAILABLE: Final = "state_unavailable"
COVISITS_UNAVAILABLE: Final = "covisits_unavailable"
TRENDING_STALE: Final = "trending_stale"
AFTER_TIMEOUT: Final = "after_timeout"
NEAREST_SKIPPED: Final = "nearest_skipped"
TOWER_SKIPPED: Final = "tower_skipped"
TOWER_FAILED: Final = "tower_failed"
RANKER_SKIPPED: Final = "ranker_skipped"
RANKER_FAILED: Final = "ranker_failed"
DIVERSITY_SKIPPED: Final = "diversity_skipped"
QUERY_VECTOR_UNAVAILABLE: Final = "query_vector_unavailable"
ITEM_WITHOUT_PICTURE: Final = "item_without_picture"
ITEM_WITHOUT_TEXT: Final = "item_without_text"

# Shares of a call's whole time that may be waited for others: of the default 50 ms, 5 and 10 ms.
STATE_SHARE: Final = 0.1
SIGNALS_SHARE: Final = 0.2
QUERY_SHARE: Final = 0.5  # for a text's vector: the words of items answer without it
