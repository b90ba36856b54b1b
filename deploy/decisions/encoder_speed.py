"""Measure how fast the day-zero encoders are: the table in deploy/models/day-zero/README.md.

    python -m deploy.decisions.encoder_speed

Half a minute. Each figure is the best of several runs: other work on the machine only slows.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from deploy.models.export.drawn import drawn_pictures
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import decode

BUNDLE = Path(__file__).parents[1] / "models" / "day-zero"
RUNS = 12
TITLE = "Nordic oak armchair with a wool seat"
DESCRIPTION = f"{TITLE}. For long evenings with a book, and for guests who stay. " * 4


def main() -> None:
    bundle = Bundle.load(BUNDLE)
    fusion = Fusion.load(bundle.files["fusion.npz"])
    pictures = drawn_pictures(16, seed=5)
    for threads in (1, 2):
        encoders = Encoders(bundle, threads)
        for count in (1, 4, 16):
            batch = pictures[:count]
            say(f"pictures, batch {count}, {threads} threads", count, encoders.encode_images, batch)
        for name, text in (("titles", TITLE), ("descriptions of 64 words", DESCRIPTION)):
            for count in (1, 16):
                what = f"{name}, batch {count}, {threads} threads"
                say(what, count, encoders.encode_texts, [text] * count)
    features, vectors = encoders.encode_images(pictures), encoders.encode_texts([TITLE] * 16)
    say("fusion, one at a time", 1, lambda _: fusion.fuse(features[0], vectors[0]), None)
    say("fusion, 16 together", 16, lambda _: fusion.fuse(features, vectors), None)
    for side in (256, 1024, 3000):
        file = io.BytesIO()
        Image.fromarray(pictures[0]).resize((side, side)).save(file, "JPEG", quality=88)
        say(f"decoding a JPEG of {side} × {side}", 1, decode, file.getvalue())


def say(what: str, count: int, work: Callable[..., object], inputs: object) -> None:
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        work(inputs)
        best = min(best, time.perf_counter() - start)
    sys.stdout.write(f"| {what} | {best * 1000:.2f} ms | {count / best:,.0f}/s |\n")


if __name__ == "__main__":
    main()
