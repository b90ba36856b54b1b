"""Measure `freshet replay` offline, by the functions that serve: python -m tests.bench.prequential

The same questions to the same lists as `freshet replay` puts to a running system (a test compares
the two on a small log), without servers: for whole data sets. Trending is of the moment here, up to
a second old there. JSON on standard output, or in a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from services.cli.replay.replay import replay
from services.cli.replay.run import read_log
from services.ranking.models.serving_models import ServingModels
from services.ranking.settings import RankingSettings
from shared.bundles.bundle import Bundle
from shared.catalogue.catalogue import Catalogue
from tests import servers
from tests.bench.blend import DAY_ZERO, NOW_MS, catalogue_of, encoded
from tests.bench.offline import Offline


def main() -> int:
    """Parse the command line, measure, print or write JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.prequential", description=__doc__)
    default = servers.shared_folder_path() / "data" / "ml-100k"
    parser.add_argument("--data", type=Path, default=default, help="MovieLens folder")
    parser.add_argument("--bundle", type=Path, help="answers when half of the events are told")
    parser.add_argument("--limit", type=int, help="so many events, the first")
    parser.add_argument("--every", type=int, default=1, help="ask before each such event")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    log = read_log(options.data, NOW_MS, options.limit)
    ids = {item.item_id for item in log.items}

    def catalogue_by(bundle: Bundle) -> Catalogue:
        return catalogue_of(ids, encoded(options.data, bundle))

    system = Offline(catalogue_by(Bundle.load(DAY_ZERO)), RankingSettings(), lambda: NOW_MS)

    async def go_over() -> None:
        bundle = Bundle.load(options.bundle)
        system.serve(catalogue_by(bundle), ServingModels.load(options.bundle))
        system.served_as = bundle.space

    def show(told: int) -> None:
        sys.stderr.write(f"\r{told:,} of {len(log.events):,} events")

    asked = replay(
        log.events,
        len(log.items),
        system,
        every=options.every,
        seed=options.seed,
        progress=show,
        at_half=None if options.bundle is None else go_over,
    )
    scores = asyncio.run(asked)
    sys.stderr.write("\n")
    found = {
        "data": log.name,
        "mode": "offline",
        "seed": options.seed,
        "events": len(log.events),
        "every": options.every,
        "lists": scores.result(),
    }
    text = json.dumps(found, indent=1) + "\n"
    if options.json is None:
        sys.stdout.write(text)
    else:
        options.json.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
