"""Start ranking: `python -m services.ranking`. Settings come from the environment."""

from __future__ import annotations

import sys

from services.ranking.service import RankingService
from services.ranking.settings import NAME, RankingSettings
from shared.runtime.service import main

if __name__ == "__main__":
    sys.exit(main(NAME, RankingSettings, RankingService))
