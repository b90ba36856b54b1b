"""Name the shop's styles: a background, a range of colours and a pattern each."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from services.cli.demo.canvas import (
    Colour,
    Fill,
    Pattern,
    dots,
    gradient,
    leaves,
    lighter,
    mix,
    stripes,
    zigzag,
)


@dataclass(frozen=True, slots=True)
class Style:
    """How the things of one style look and are spoken of."""

    name: str
    colours: tuple[tuple[str, Colour], ...]  # with their names
    trim: Colour
    backgrounds: tuple[tuple[Colour, Colour], ...]  # top, bottom
    pattern: Pattern | None
    sun: bool  # a large disc behind the thing
    words: str  # what a description says of it
    materials: tuple[str, ...]


STYLES = (
    Style(
        "Nordic",
        (
            ("oat", (222, 208, 184)),
            ("sage", (150, 168, 148)),
            ("slate", (112, 126, 138)),
            ("birch", (205, 186, 160)),
        ),
        (168, 134, 98),
        (((244, 243, 240), (226, 224, 219)), ((238, 241, 242), (216, 222, 224))),
        None,
        False,
        "calm lines and soft daylight colours for a quiet home",
        ("ash wood", "washed linen", "matt stoneware"),
    ),
    Style(
        "Retro",
        (
            ("mustard", (222, 164, 52)),
            ("teal", (42, 128, 128)),
            ("tangerine", (224, 108, 48)),
            ("avocado", (134, 142, 60)),
        ),
        (112, 62, 40),
        (((250, 234, 202), (240, 212, 164)), ((246, 226, 190), (232, 196, 150))),
        dots,
        True,
        "seventies curves, polka dots and the warm light of a summer evening",
        ("enamel", "corduroy", "walnut veneer"),
    ),
    Style(
        "Noir",
        (
            ("onyx", (38, 38, 44)),
            ("graphite", (66, 68, 76)),
            ("midnight", (30, 36, 60)),
            ("burgundy", (88, 24, 40)),
        ),
        (214, 176, 92),
        (((150, 148, 156), (104, 102, 112)), ((138, 136, 150), (96, 94, 108))),
        None,
        False,
        "black and gold, made for late evenings and low light",
        ("brushed brass", "smoked glass", "black leather"),
    ),
    Style(
        "Tropic",
        (
            ("flamingo", (242, 96, 132)),
            ("lagoon", (24, 176, 184)),
            ("lime", (142, 200, 60)),
            ("papaya", (252, 142, 66)),
        ),
        (28, 110, 84),
        (((196, 240, 232), (144, 222, 214)), ((255, 224, 226), (250, 190, 200))),
        leaves,
        False,
        "loud leaves and holiday colours that never heard of November",
        ("glazed ceramic", "printed canvas", "bamboo"),
    ),
    Style(
        "Terra",
        (
            ("terracotta", (190, 98, 66)),
            ("sand", (216, 178, 132)),
            ("clay", (158, 104, 78)),
            ("ochre", (198, 146, 66)),
        ),
        (246, 232, 208),
        (((236, 214, 188), (218, 184, 150)), ((230, 204, 182), (206, 168, 140))),
        zigzag,
        False,
        "handmade, earthy and woven, with the sun of the south in it",
        ("fired clay", "jute", "olive wood"),
    ),
)


def background(style: Style, rng: Random) -> Image.Image:
    """Draw the backdrop: a soft gradient with a ground, and the style's sun."""
    top, bottom = rng.choice(style.backgrounds)
    image = gradient(top, bottom)
    side = image.width
    draw = ImageDraw.Draw(image)
    if style.sun:
        r = side * rng.uniform(0.34, 0.4)
        x, y = side / 2, side * rng.uniform(0.44, 0.52)
        for part, share in ((1.0, 0.35), (0.78, 0.6)):
            size = r * part
            draw.ellipse(
                [x - size, y - size, x + size, y + size], fill=lighter(bottom, 0.2 + share * 0.35)
            )
    draw.rectangle([0, side * 0.84, side, side], fill=mix(bottom, style.trim, 0.12))
    return image


def fill(style: Style, colour: Colour, rng: Random, *, plain: bool = False) -> Fill:
    """Return the style's fill of a thing in this colour."""
    accent = lighter(colour, 0.42) if rng.random() < 0.6 else style.trim
    return Fill(colour, accent, None if plain else style.pattern or _sometimes(rng))


def _sometimes(rng: Random) -> Pattern | None:
    return stripes if rng.random() < 0.3 else None
