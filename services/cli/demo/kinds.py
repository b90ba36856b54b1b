"""List the kinds of things that the shop sells: how each is drawn, named, described, priced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from services.cli.demo import things
from services.cli.demo.canvas import Canvas, Fill
from services.cli.demo.styles import Style

Draw = Callable[[Canvas, Fill, Style, Random], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing: how it is drawn, named, described and priced."""

    name: str
    category: str
    draw: Draw
    nouns: tuple[str, ...]
    use: str
    price: tuple[float, float]  # lowest, highest


KINDS = (
    Kind(
        "mug",
        "Kitchen",
        things.mug,
        ("mug", "coffee mug", "cup"),
        "for the first coffee and the third",
        (9, 29),
    ),
    Kind(
        "teapot",
        "Kitchen",
        things.teapot,
        ("teapot", "tea pot"),
        "pours without a drip and keeps an hour warm",
        (24, 79),
    ),
    Kind(
        "vase",
        "Living",
        things.vase,
        ("vase", "flower vase"),
        "holds a bunch from the market or a single branch",
        (19, 95),
    ),
    Kind(
        "armchair",
        "Living",
        things.armchair,
        ("armchair", "reading chair", "easy chair"),
        "deep enough for a long novel",
        (190, 890),
    ),
    Kind(
        "lamp",
        "Living",
        things.lamp,
        ("table lamp", "bedside lamp", "lamp"),
        "throws a warm circle on desk and page",
        (39, 240),
    ),
    Kind(
        "clock",
        "Living",
        things.clock,
        ("wall clock", "kitchen clock"),
        "a silent movement and a face that reads across the room",
        (25, 140),
    ),
    Kind(
        "backpack",
        "Outdoor",
        things.backpack,
        ("backpack", "daypack", "rucksack"),
        "carries a laptop, lunch and rain jacket",
        (45, 180),
    ),
    Kind(
        "sneaker",
        "Fashion",
        things.sneaker,
        ("sneakers", "running shoes", "trainers"),
        "cushioned for pavements and forest tracks",
        (59, 190),
    ),
    Kind(
        "guitar",
        "Music",
        things.guitar,
        ("acoustic guitar", "folk guitar"),
        "a round tone for campfires and small stages",
        (149, 990),
    ),
    Kind(
        "umbrella",
        "Outdoor",
        things.umbrella,
        ("umbrella", "rain umbrella"),
        "stands up to a proper autumn storm",
        (19, 89),
    ),
    Kind(
        "bicycle",
        "Outdoor",
        things.bicycle,
        ("city bicycle", "bicycle", "commuter bike"),
        "upright, light and quick off the lights",
        (349, 1490),
    ),
    Kind(
        "sunglasses",
        "Fashion",
        things.sunglasses,
        ("sunglasses", "shades"),
        "full UV protection for bright days",
        (29, 210),
    ),
    Kind(
        "headphones",
        "Music",
        things.headphones,
        ("headphones", "over-ear headphones"),
        "thirty hours of music on one charge",
        (49, 349),
    ),
    Kind(
        "cactus",
        "Garden",
        things.cactus,
        ("potted cactus", "cactus in a pot"),
        "asks for light, forgives forgotten water",
        (12, 59),
    ),
)
