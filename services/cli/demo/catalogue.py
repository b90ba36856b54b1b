"""Make the demo shop's catalogue: drawn, named and priced from one seed, the same in every run."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from freshet.contract.items import Item
from services.cli.demo.canvas import Canvas
from services.cli.demo.kinds import KINDS, Kind
from services.cli.demo.styles import STYLES, Style, background, fill

_MAKERS = (
    "Alder", "Brisa", "Calla", "Dovetail", "Ember", "Fjell", "Grove", "Halden", "Isla", "Juno",
    "Kite", "Lumen", "Marlow", "Nell", "Osier", "Piper", "Quill", "Rowan", "Sorrel", "Tansy",
)  # fmt: skip
_AGE_MS = (86_400_000, 90 * 86_400_000)  # how long the shop has had its things
_PER_STYLE = 9  # items of each kind in each style: 14 kinds x 5 styles x 9 = 630


def draw(kind: Kind, style: Style, colour: int, rng: Random) -> bytes:
    """Draw one thing on its style's backdrop and return it as JPEG."""
    canvas = Canvas(background(style, rng), rng)
    kind.draw(canvas, fill(style, style.colours[colour][1], rng), style, rng)
    return canvas.jpeg()


def item(
    kind: Kind, style: Style, number: int, *, seed: int = 1, created_ms: int | None = None
) -> Item:
    """Return one complete item. The same arguments give the same item, byte for byte."""
    rng = Random(f"{seed}/{kind.name}/{style.name}/{number}")
    colour = number % len(style.colours)
    colour_name = style.colours[colour][0]
    noun, maker, material = rng.choice(kind.nouns), rng.choice(_MAKERS), rng.choice(style.materials)
    low, high = kind.price
    price = round(low + (high - low) * rng.random() ** 1.6) + 0.9
    return Item(
        item_id=f"{kind.name}-{style.name.lower()}-{number}",
        title=f"{maker} {style.name} {noun} in {colour_name}",
        description=(
            f"{noun.capitalize()} in {colour_name}, with {material}: {style.words}. "
            f"{kind.use[0].upper()}{kind.use[1:]}."
        ),
        categories=(kind.category, kind.name.capitalize(), style.name),
        tags=(colour_name, material),
        attributes={"style": style.name, "colour": colour_name, "maker": maker},
        price=price,
        currency="EUR",
        in_stock=True,
        image_bytes=draw(kind, style, colour, rng),
        created_ms=created_ms,
    )


def items(now_ms: int, *, seed: int = 1) -> Iterator[Item]:
    """Draw the whole catalogue, kinds and styles mixed, nothing of it younger than a day."""
    rng = Random(seed)
    for number in range(_PER_STYLE):
        for style in STYLES:
            for kind in KINDS:
                age_ms = rng.randint(*_AGE_MS)
                yield item(kind, style, number, seed=seed, created_ms=now_ms - age_ms)


COUNT = _PER_STYLE * len(STYLES) * len(KINDS)
