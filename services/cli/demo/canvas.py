"""Draw on a small board on Pillow: shapes in units of 0-100, patterned fills, soft shadows.

Everything is drawn at twice the final size and scaled down once, which smooths all edges.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

SIZE = 256  # pixels of the finished picture's side
_DRAWN = SIZE * 2
_UNIT = _DRAWN / 100

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pattern = Callable[[ImageDraw.ImageDraw, Colour, Random], None]


@dataclass(frozen=True, slots=True)
class Fill:
    """A colour, and a pattern drawn over it in a second colour."""

    colour: Colour
    accent: Colour
    pattern: Pattern | None = None


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Blend two colours; share 0 gives the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """Shade a colour towards black."""
    return mix(colour, (20, 16, 24), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    """Tint a colour towards white."""
    return mix(colour, (255, 255, 255), share)


def curve(*points: Point, steps: int = 24) -> list[Point]:
    """Return points on the Bezier curve of these control points."""
    found = []
    degree = len(points) - 1
    for step in range(steps + 1):
        t = step / steps
        weights = [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
        x = sum(w * p[0] for w, p in zip(weights, points, strict=True))
        y = sum(w * p[1] for w, p in zip(weights, points, strict=True))
        found.append((x, y))
    return found


def mirrored(half: Sequence[Point], axis: float = 50.0) -> list[Point]:
    """Close a half outline (top to bottom) with its mirror image about a vertical axis."""
    return [*half, *[(2 * axis - x, y) for x, y in reversed(half)]]


class Canvas:
    """One picture in the making; coordinates from (0, 0) top left to (100, 100)."""

    def __init__(self, background: Image.Image, rng: Random) -> None:
        self._image = background
        self._rng = rng

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * _UNIT, y * _UNIT) for x, y in points]

    def _paint(
        self, fill: Fill | Colour, shape: Callable[[ImageDraw.ImageDraw, Any], None]
    ) -> None:
        """Draw a shape in plain colour, or cut it out of a patterned layer."""
        if not isinstance(fill, Fill):
            shape(ImageDraw.Draw(self._image), fill)
        elif fill.pattern is None:
            shape(ImageDraw.Draw(self._image), fill.colour)
        else:
            mask = Image.new("L", self._image.size, 0)
            shape(ImageDraw.Draw(mask), 255)
            layer = Image.new("RGB", self._image.size, fill.colour)
            fill.pattern(ImageDraw.Draw(layer), fill.accent, self._rng)
            self._image.paste(layer, (0, 0), mask)

    def polygon(self, points: Sequence[Point], fill: Fill | Colour) -> None:
        """Fill the outline."""
        scaled = self._scaled(points)
        self._paint(fill, lambda draw, ink: draw.polygon(scaled, fill=ink))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Fill | Colour) -> None:
        """Fill an ellipse about (x, y)."""
        corners = self._scaled([(x - rx, y - ry), (x + rx, y + ry)])
        self._paint(fill, lambda draw, ink: draw.ellipse(corners, fill=ink))

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Fill | Colour, radius: float = 0.0
    ) -> None:
        """Fill a rectangle with rounded corners."""
        corners = self._scaled([(x0, y0), (x1, y1)])
        self._paint(
            fill, lambda draw, ink: draw.rounded_rectangle(corners, radius * _UNIT, fill=ink)
        )

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round joints and ends."""
        draw = ImageDraw.Draw(self._image)
        scaled = self._scaled(points)
        draw.line(scaled, fill=colour, width=max(1, round(width * _UNIT)), joint="curve")
        for x, y in (scaled[0], scaled[-1]):
            r = width * _UNIT / 2
            draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def ring(self, x: float, y: float, r: float, width: float, colour: Colour) -> None:
        """Draw a circle's line of this width, outer radius r."""
        draw = ImageDraw.Draw(self._image)
        corners = self._scaled([(x - r, y - r), (x + r, y + r)])
        draw.ellipse([*corners[0], *corners[1]], outline=colour, width=max(1, round(width * _UNIT)))

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float = 0.28) -> None:
        """Lay a soft shadow on the ground."""
        small = Image.new("L", (100, 100), 0)  # a soft thing needs no resolution
        corners = [x - rx, y - ry, x + rx, y + ry]
        ImageDraw.Draw(small).ellipse(corners, fill=round(255 * strength))
        soft = small.filter(ImageFilter.GaussianBlur(1.5)).resize(self._image.size)
        self._image.paste((20, 16, 24), (0, 0), soft)

    def jpeg(self) -> bytes:
        """Return the finished picture."""
        out = io.BytesIO()
        self._image.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(out, "JPEG", quality=86)
        return out.getvalue()


def gradient(top: Colour, bottom: Colour) -> Image.Image:
    """Return a background that runs from one colour to another."""
    strip = Image.new("RGB", (1, 64))
    for row in range(64):
        strip.putpixel((0, row), mix(top, bottom, row / 63))
    return strip.resize((_DRAWN, _DRAWN), Image.Resampling.BILINEAR)


def stripes(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """Fine level stripes."""
    step = rng.uniform(5, 8) * _UNIT
    for n in range(int(_DRAWN / step) + 1):
        draw.rectangle([0, n * step, _DRAWN, n * step + step * 0.28], fill=colour)


def dots(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """Polka dots, every second row shifted."""
    step = rng.uniform(8, 11) * _UNIT
    r = step * 0.24
    for row in range(int(_DRAWN / step) + 2):
        for column in range(int(_DRAWN / step) + 2):
            x, y = (column + 0.5 * (row % 2)) * step, row * step
            draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)


def zigzag(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """Woven zigzag bands."""
    step = rng.uniform(6, 8) * _UNIT
    for row in range(-1, int(_DRAWN / step / 2) + 2):
        y = row * step * 2
        points = [(n * step, y + (step if n % 2 else 0.0)) for n in range(int(_DRAWN / step) + 2)]
        draw.line(points, fill=colour, width=round(step * 0.3))


def leaves(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """Scattered leaves."""
    for _ in range(150):
        x, y, turn = rng.uniform(0, _DRAWN), rng.uniform(0, _DRAWN), rng.uniform(0, math.tau)
        long, wide = rng.uniform(5, 8) * _UNIT, rng.uniform(1.2, 2.2) * _UNIT
        tip = (x + long * math.cos(turn), y + long * math.sin(turn))
        middle = ((x + tip[0]) / 2, (y + tip[1]) / 2)
        side = (wide * -math.sin(turn), wide * math.cos(turn))
        draw.polygon(
            [
                (x, y),
                (middle[0] + side[0], middle[1] + side[1]),
                tip,
                (middle[0] - side[0], middle[1] - side[1]),
            ],
            fill=colour,
        )
