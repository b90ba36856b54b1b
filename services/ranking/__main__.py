"""Start ranking: `python -m services.ranking`. Settings come from the environment."""

from __future__ import annotations

import sys

from services.ranking.service import NAME, RankingService
from services.ranking.settings import RankingSettings
from shared.runtime.service import main

if __name__ == "__main__":
    sys.exit(main(NAME, RankingSettings, RankingService))
