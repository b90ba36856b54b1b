"""Run the embedding service, or one of its two one-shot commands.

    python -m services.embedding                        the service; ends within 15 s of SIGTERM
    python -m services.embedding snapshot               make a snapshot now; prints what was made
    python -m services.embedding check-snapshot FOLDER  load a snapshot's folder; exit code 1 if bad

A snapshot is of the bundle's space, or of FRESHET_SPACE with FRESHET_DIM.

Worker processes import this module again, so it imports nothing large until it runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

NICE = 10  # a build lets live work go first


def main(arguments: list[str]) -> int:
    """Run a command. Returns the exit code: 2 for a setting or bundle that cannot be used."""
    if arguments[:1] == ["check-snapshot"] and len(arguments) == 2:
        return _check_snapshot(Path(arguments[1]))
    if arguments in (["snapshot"], ["snapshot", "--attended"]):
        return _snapshot(attended="--attended" in arguments)
    if arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    from services.embedding.service import EmbeddingService
    from services.embedding.settings import NAME, EmbeddingSettings
    from shared.runtime import service

    return service.main(NAME, EmbeddingSettings, EmbeddingService)


def _snapshot(*, attended: bool) -> int:
    """Build a snapshot and print it as JSON. attended: end when standard input does."""
    from freshet.settings import BadSetting, from_environment
    from services.embedding.settings import NAME, EmbeddingSettings
    from services.embedding.snapshots.build import NoItems, build
    from shared.bundles.bundle import BadBundle, Bundle
    from shared.catalogue.active_bundle import ActiveBundle, SpaceSettings
    from shared.catalogue.snapshots import BadSnapshot
    from shared.runtime import logs

    try:
        settings = from_environment(EmbeddingSettings, os.environ)
        told = from_environment(SpaceSettings, os.environ)
        logs.configure(NAME, settings.logs)
        os.nice(NICE)
        if attended:
            threading.Thread(target=_end_with_input, daemon=True).start()
        source = told if told.space else Bundle.load(settings.bundle)
        snapshot = asyncio.run(build(settings, ActiveBundle(source.space, source.dim)))
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BadBundle as error:
        sys.stderr.write(f"FRESHET_BUNDLE: {error}\n")
        return 2
    except (NoItems, BadSnapshot, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(snapshot) + "\n")
    return 0


def _end_with_input() -> None:
    # Not through sys.stdin: a thread inside its buffer would be fatal to a normal exit.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)  # nobody waits for the snapshot any more


def _check_snapshot(folder: Path) -> int:
    from services.embedding.snapshots.build import check
    from shared.catalogue.snapshots import BadSnapshot

    try:
        check(folder)
    except (BadSnapshot, OSError, ValueError, RuntimeError) as error:  # hnswlib's is the last
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
