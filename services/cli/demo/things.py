"""Draw the things that the shop sells: one function a kind, proportions from the random source.

Every function has the same signature, so that kinds.py can be a table.
"""

from __future__ import annotations

import math
from random import Random

from services.cli.demo.canvas import Canvas, Fill, curve, darker, lighter, mirrored, mix
from services.cli.demo.styles import Style

_DARK = (52, 44, 44)
_STEEL = (150, 154, 162)


def mug(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A mug with a handle on the right and a dark drink inside."""
    width, top, bottom = rng.uniform(18, 22), rng.uniform(28, 34), 80.0
    c.shadow(50, bottom + 1, width + 10, 4)
    x0, x1 = 46 - width, 46 + width
    handle = (x1 - 1, (top + bottom) / 2)
    c.ring(handle[0] + 3, handle[1], rng.uniform(12, 14), 4.6, darker(f.colour, 0.12))
    taper = rng.uniform(0, 4)
    c.polygon([(x0, top), (x1, top), (x1 - taper, bottom), (x0 + taper, bottom)], f)
    c.ellipse(46, bottom, width - taper, 3.6, darker(f.colour, 0.15))
    c.polygon(
        [(x0, top), (x0 + 5, top), (x0 + 5 + taper * 0.6, bottom), (x0 + taper, bottom)],
        lighter(f.colour, 0.25),
    )
    c.ellipse(46, top, width, 5.4, lighter(f.colour, 0.35))
    c.ellipse(46, top + 0.4, width - 2.4, 4.0, mix((70, 40, 24), f.colour, 0.1))
    if rng.random() < 0.5:
        for x in (40, 47, 54):
            c.line(
                curve((x, top - 7), (x - 4, top - 12), (x + 4, top - 15), (x, top - 20)),
                0.9,
                lighter(s.backgrounds[0][1], 0.6),
            )


def teapot(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A round teapot with spout, handle and lid."""
    r, y = rng.uniform(21, 24), 58.0
    c.shadow(50, 81, r + 12, 4)
    c.line(
        curve((50 - r + 3, y + 6), (50 - r - 12, y + 2), (50 - r - 6, y - 12), (26 - r / 2, 36)),
        6.0,
        darker(f.colour, 0.06),
    )
    c.line(
        curve(
            (50 + r - 4, y - 12), (50 + r + 18, y - 18), (50 + r + 15, y + 16), (50 + r - 6, y + 11)
        ),
        4.2,
        s.trim,
    )
    c.ellipse(50, y, r, r * rng.uniform(0.88, 0.98), f)
    c.ellipse(50 - r * 0.45, y - r * 0.35, r * 0.16, r * 0.3, lighter(f.colour, 0.5))
    c.ellipse(50, y - r * 0.86, r * 0.5, 3.4, darker(f.colour, 0.2))
    c.ellipse(50, y - r * 0.93, r * 0.46, 4.6, lighter(f.colour, 0.12))
    c.ellipse(50, y - r * 0.93 - 6, 3.2, 3.2, s.trim)
    c.box(50 - r * 0.5, y + r * 0.85, 50 + r * 0.5, y + r * 0.98, darker(f.colour, 0.3), 1)


def vase(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A vase with a bunch of flowers."""
    belly, neck, top = rng.uniform(13, 17), rng.uniform(5, 7.5), 52.0
    c.shadow(50, 89, belly + 7, 3.4)
    petals = [colour for _, colour in s.colours if colour != f.colour]
    for n in range(rng.randint(5, 7)):
        turn = math.radians(-150 + n * 20 + rng.uniform(-6, 6))
        tip = (50 + 31 * math.cos(turn), top - 1 + 36 * math.sin(turn))
        c.line(curve((50, top + 4), (50, top - 12), tip), 1.1, (74, 122, 70))
        c.ellipse((50 + tip[0]) / 2 + 1, (top + tip[1]) / 2, 1.6, 4.0, (96, 148, 84))
        colour = lighter(petals[n % len(petals)], 0.15)
        for petal in range(6):
            angle = petal * math.tau / 6
            c.ellipse(
                tip[0] + 3.4 * math.cos(angle), tip[1] + 3.4 * math.sin(angle), 2.9, 2.9, colour
            )
        c.ellipse(tip[0], tip[1], 2.3, 2.3, (250, 214, 96))
    half = [
        *curve((50 - neck, top), (50 - neck, top + 10), (50 - belly - 5, 64), (50 - belly, 76)),
        *curve((50 - belly, 76), (50 - belly + 2, 86), (50 - neck - 2, 89)),
    ]
    c.polygon(mirrored(half), f)
    c.ellipse(50, top, neck, 1.9, darker(f.colour, 0.35))
    c.ellipse(50 - belly * 0.45, 72, 1.8, 7, lighter(f.colour, 0.45))


def armchair(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """An armchair from the front, on wooden legs."""
    wide, back = rng.uniform(27, 31), rng.uniform(18, 26)
    c.shadow(50, 88, wide + 8, 4)
    leg = (126, 88, 56) if s.name != "Noir" else s.trim
    for side in (-1, 1):
        c.line([(50 + side * (wide - 5), 78), (50 + side * (wide - 2), 88)], 2.6, leg)
    c.box(50 - wide + 5, back, 50 + wide - 5, 72, f, rng.uniform(8, 14))
    c.box(50 - wide + 6, 54, 50 + wide - 6, 68, lighter(f.colour, 0.16), 5)
    c.line([(50 - wide + 10, 68.5), (50 + wide - 10, 68.5)], 0.9, darker(f.colour, 0.35))
    for side in (-1, 1):
        x = 50 + side * (wide - 2)
        c.box(x - 6, 44, x + 6, 79, Fill(darker(f.colour, 0.12), f.accent, f.pattern), 5.5)
    c.box(50 - wide + 4, 69, 50 + wide - 4, 79, darker(f.colour, 0.08), 3)
    for x in (40, 50, 60):
        c.ellipse(x, back + 13, 1.0, 1.0, darker(f.colour, 0.4))
    if rng.random() < 0.5:
        c.box(40, 42, 60, 58, Fill(s.trim, lighter(s.trim, 0.4), None), 4)


def lamp(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A table lamp: shade, stem, foot and its light."""
    top, bottom = rng.uniform(10, 15), rng.uniform(22, 27)
    c.shadow(50, 89, 20, 3.6)
    foot = s.trim if rng.random() < 0.6 else darker(f.colour, 0.3)
    c.polygon(
        [(50 - bottom, 47), (50 + bottom, 47), (50 + bottom + 7, 64), (50 - bottom - 7, 64)],
        mix(s.backgrounds[0][1], (255, 240, 180), 0.3),
    )
    if rng.random() < 0.5:
        c.box(48.4, 46, 51.6, 86, foot, 1)
    else:
        half = curve((47.5, 46), (46, 58), (34, 70), (43, 87))
        c.polygon(mirrored(half), Fill(foot, lighter(foot, 0.35), f.pattern))
    c.ellipse(50, 87, 15, 2.8, darker(foot, 0.15))
    c.polygon([(50 - top, 14), (50 + top, 14), (50 + bottom, 47), (50 - bottom, 47)], f)
    c.polygon(
        [(50 - top, 14), (50 - top + 4, 14), (50 - bottom + 9, 47), (50 - bottom, 47)],
        lighter(f.colour, 0.3),
    )
    c.ellipse(50, 47, bottom, 2.6, (255, 244, 202))
    c.ellipse(50, 14, top, 1.7, darker(f.colour, 0.2))


def clock(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A wall clock with hands and hour marks."""
    r, square = rng.uniform(31, 35), rng.random() < 0.25
    c.shadow(52, 53, r + 2, r + 2, 0.35)
    if square:
        c.box(50 - r, 50 - r, 50 + r, 50 + r, f, 7)
    else:
        c.ellipse(50, 50, r, r, f)
    face = (250, 248, 242) if s.name != "Noir" else (24, 24, 28)
    ink = _DARK if s.name != "Noir" else s.trim
    c.ellipse(50, 50, r - 5, r - 5, face)
    for hour in range(12):
        angle = hour * math.tau / 12
        far, near = r - 8, r - (13 if hour % 3 == 0 else 10.5)
        c.line(
            [
                (50 + far * math.sin(angle), 50 - far * math.cos(angle)),
                (50 + near * math.sin(angle), 50 - near * math.cos(angle)),
            ],
            1.7 if hour % 3 == 0 else 0.8,
            ink,
        )
    short, long = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    c.line([(50, 50), (50 + 14 * math.sin(short), 50 - 14 * math.cos(short))], 2.3, ink)
    c.line([(50, 50), (50 + 21 * math.sin(long), 50 - 21 * math.cos(long))], 1.5, ink)
    c.line([(50, 50), (50 - 22 * math.sin(long), 50 + 4)], 0.6, (206, 52, 46))
    c.ellipse(50, 50, 1.9, 1.9, (206, 52, 46))


def backpack(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A backpack with a flap, a front pocket and straps."""
    wide, top = rng.uniform(22, 26), rng.uniform(20, 25)
    c.shadow(50, 88, wide + 8, 4)
    c.line(curve((42, top + 3), (42, top - 11), (58, top - 11), (58, top + 3)), 2.8, s.trim)
    for side in (-1, 1):
        c.line(
            curve(
                (50 + side * (wide - 4), 34), (50 + side * (wide + 12), 52), (50 + side * wide, 80)
            ),
            4.4,
            darker(f.colour, 0.35),
        )
    c.box(50 - wide, top, 50 + wide, 88, f, rng.uniform(10, 16))
    c.box(50 - wide + 1, top, 50 + wide - 1, 50, Fill(darker(f.colour, 0.14), f.accent, None), 12)
    c.box(
        50 - wide + 5, 58, 50 + wide - 5, 83, Fill(lighter(f.colour, 0.1), f.accent, f.pattern), 5
    )
    c.line([(50 - wide + 8, 63), (50 + wide - 8, 63)], 0.9, darker(f.colour, 0.45))
    for x in (40, 60):
        c.box(x - 2, 40, x + 2, 60, s.trim, 1)
        c.box(x - 3, 52, x + 3, 57, _STEEL, 1)


def sneaker(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A sneaker from the side, its toe to the right."""
    high = rng.uniform(30, 42)
    c.shadow(50, 76, 40, 3.6)
    upper = [
        (14, 70),
        *curve((14, 68), (11, 52), (16, high)),
        *curve((16, high), (24, high + 5), (36, high)),
        *curve((36, high), (46, 50), (62, 52)),
        *curve((62, 52), (88, 55), (88, 70)),
    ]
    c.polygon(upper, f)
    c.polygon(
        [*curve((66, 53), (88, 55), (88, 70)), *curve((88, 70), (76, 70), (66, 53))],
        lighter(f.colour, 0.45),
    )
    c.polygon([(14, 70), (12, 56), (22, 54), (26, 70)], s.trim)
    c.line(curve((28, 66), (44, 66), (54, 54)), 3.0, lighter(f.colour, 0.6))
    for n in range(4):
        x, y = 40 + n * 5.4, high + 6 + n * 3.4
        c.line([(x - 4, y + 5), (x + 4, y - 1)], 1.6, (248, 246, 240))
    c.line(curve((16, high), (24, high + 5), (36, high)), 2.6, darker(f.colour, 0.4))
    c.box(11, 68, 90, 76, (246, 244, 238), 4)
    c.line([(13, 72.5), (88, 72.5)], 0.9, s.trim)


def guitar(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """An acoustic guitar, upright."""
    lower, upper = rng.uniform(20, 23), rng.uniform(14, 16.5)
    c.shadow(50, 93, lower + 4, 2.6)
    half = [
        *curve((50, 45), (50 - upper, 44), (50 - upper - 2, 57), (50 - upper * 0.78, 61)),
        *curve((50 - upper * 0.78, 61), (50 - lower - 5, 66), (50 - lower - 4, 92), (50, 93)),
    ]
    c.polygon(mirrored([(x - 0.8, y) for x, y in half]), darker(f.colour, 0.45))
    c.polygon(mirrored([(50 - (50 - x) * 0.94, 45.6 + (y - 45) * 0.97) for x, y in half]), f)
    c.ellipse(50, 64, 7.4, 7.4, s.trim)
    c.ellipse(50, 64, 6.2, 6.2, (34, 24, 20))
    c.box(47.6, 12, 52.4, 60, (72, 46, 32))
    for fret in range(9):
        c.line([(47.8, 18 + fret * 4.4), (52.2, 18 + fret * 4.4)], 0.5, (206, 190, 150))
    c.polygon([(46.4, 4), (53.6, 4), (52.8, 14), (47.2, 14)], darker(f.colour, 0.4))
    for y in (6, 9, 12):
        for x in (45.0, 55.0):
            c.ellipse(x, y, 1.1, 1.1, _STEEL)
    c.box(42, 80, 58, 83, (48, 32, 26), 1)
    for string in range(6):
        x = 48.2 + string * 0.72
        c.line([(x, 10), (47.2 + string * 1.12, 81)], 0.22, (238, 232, 214))


def umbrella(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """An open umbrella with its crook."""
    wide, top = rng.uniform(36, 41), rng.uniform(17, 22)
    edge, ribs = 53.0, rng.choice((4, 6))
    c.line([(50, top - 5), (50, 84)], 1.6, (96, 72, 52))
    c.line(curve((50, 83), (50, 96), (61, 96), (61, 86)), 2.6, s.trim)
    outline = curve(
        (50 - wide, edge), (50 - wide + 3, top - 5), (50 + wide - 3, top - 5), (50 + wide, edge)
    )
    step = 2 * wide / ribs
    scallops = []
    for n in range(ribs):
        right = 50 + wide - n * step
        scallops += curve((right, edge), (right - step / 2, edge - 8), (right - step, edge))
    c.polygon([*outline, *scallops], f)
    crown = (50.0, outline[len(outline) // 2][1])
    for n in range(0, ribs, 2):
        left, right = 50 - wide + n * step, 50 - wide + (n + 1) * step
        bow = ((left + right) / 2, top + 10)
        panel = [*curve(crown, (bow[0] - step * 0.4, bow[1]), (left, edge))]
        panel += [*curve((left, edge), ((left + right) / 2, edge - 8), (right, edge))]
        panel += [*curve((right, edge), (bow[0] + step * 0.5, bow[1]), crown)]
        c.polygon(panel, Fill(darker(f.colour, 0.22), f.accent, f.pattern))
    c.line([(50, crown[1]), (50, crown[1] - 6)], 1.4, (96, 72, 52))


def bicycle(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A bicycle from the side."""
    r, y = rng.uniform(18.5, 20.5), 66.0
    back, front, crank = (26.0, y), (75.0, y), (47.0, y)
    c.shadow(50, y + r + 1, 44, 2.6)
    for x, _ in (back, front):
        c.ring(x, y, r, 2.2, (40, 38, 42))
        c.ring(x, y, r - 2.2, 0.8, _STEEL)
        for spoke in range(12):
            angle = spoke * math.tau / 12
            c.line(
                [(x, y), (x + (r - 2) * math.cos(angle), y + (r - 2) * math.sin(angle))],
                0.25,
                _STEEL,
            )
        c.ellipse(x, y, 1.8, 1.8, _DARK)
    seat, head = (40.0, 38.0), (67.0, 36.0)
    tube = 2.7
    frame = [(back, crank), (crank, seat), (seat, back), (seat, head), (crank, (68.5, 42.0))]
    for one, other in frame:
        c.line([one, other], tube, f.colour)
    c.line([(66, 32), front], tube, darker(f.colour, 0.12))
    c.line([seat, (38.5, 32)], 1.6, _STEEL)
    c.polygon(curve((30, 30), (36, 33), (47, 32), (46, 29), (34, 27)), _DARK)
    c.line(curve((66, 32), (64, 26), (70, 25), (74, 27)), 1.8, s.trim)
    c.ellipse(*crank, 4.2, 4.2, s.trim)
    c.ellipse(*crank, 2.2, 2.2, _DARK)
    c.line([crank, (52, y + 8)], 1.4, _DARK)
    c.line([(50, y + 8.6), (55, y + 8.6)], 1.6, _DARK)
    if rng.random() < 0.5:
        c.box(64, 40, 80, 50, Fill(mix(s.trim, (190, 150, 100), 0.5), f.accent, f.pattern), 2)


def sunglasses(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """Sunglasses from the front."""
    wide, high = rng.uniform(16, 18.5), rng.uniform(12, 15)
    c.shadow(50, 70, 38, 3, 0.2)
    tint = mix(_DARK, f.accent, rng.uniform(0.1, 0.35))
    round_lenses = rng.random() < 0.4
    for side in (-1, 1):
        x = 50 + side * 22.5
        c.line(
            curve((x + side * wide, 44), (x + side * (wide + 7), 38), (x + side * (wide + 5), 26)),
            2.6,
            darker(f.colour, 0.2),
        )
        if round_lenses:
            c.ellipse(x, 51, high + 3.6, high + 3.6, f)
            c.ellipse(x, 51, high + 0.6, high + 0.6, tint)
        else:
            outer = [
                *curve((x - wide, 40), (x, 36), (x + wide, 40)),
                *curve((x + wide, 40), (x + wide, 51 + high + 6), (x, 50 + high)),
                *curve((x, 50 + high), (x - wide, 51 + high + 6), (x - wide, 40)),
            ]
            c.polygon(outer, f)
            c.polygon([(x + (px - x) * 0.83, 49 + (py - 49) * 0.8) for px, py in outer], tint)
        c.line([(x - 7, 55), (x + 1, 45)], 1.6, lighter(tint, 0.35))
    c.line(curve((43, 46), (50, 41), (57, 46)), 3.0, darker(f.colour, 0.1))


def headphones(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """Headphones from the front."""
    wide, top = rng.uniform(25, 29), rng.uniform(14, 19)
    c.shadow(50, 84, 30, 3, 0.2)
    arch = [
        (50 - wide, 56),
        *curve((50 - wide, 52), (50 - wide, top), (50, top)),
        *curve((50, top), (50 + wide, top), (50 + wide, 52)),
        (50 + wide, 56),
    ]
    c.line(arch, 5.4, darker(f.colour, 0.3))
    inner = [(50 + (x - 50) * 0.94, y + 1.6) for x, y in arch[8:-8]]
    c.line(inner, 2.0, lighter(f.colour, 0.3))
    for side in (-1, 1):
        x = 50 + side * wide
        c.box(x - 5 - side * 5, 47, x + 5 - side * 5, 77, _DARK, 5)
        c.box(x - 7 + side * 3, 46, x + 7 + side * 3, 78, f, 7)
        c.ellipse(x + side * 3.4, 62, 3.8, 9, s.trim)
        c.ellipse(x + side * 3.4, 62, 2.4, 7, darker(f.colour, 0.2))


def cactus(c: Canvas, f: Fill, s: Style, rng: Random) -> None:
    """A potted cactus."""
    green = mix((76, 138, 86), (120, 160, 84), rng.random())
    wide, top = rng.uniform(9, 12), rng.uniform(16, 24)
    c.shadow(50, 90, 24, 3.6)
    c.box(50 - wide, top, 50 + wide, 72, green, wide)
    for side in (-1, 1):
        if rng.random() < 0.8:
            y = rng.uniform(38, 50)
            reach = wide + rng.uniform(8, 12)
            bend = [
                (50 + side * wide, y),
                (50 + side * reach, y),
                (50 + side * reach, y - rng.uniform(9, 15)),
            ]
            c.line(bend, 7.0, darker(green, 0.06))
            c.ellipse(50 + side * reach, y, 3.5, 3.5, darker(green, 0.06))
    for x in (-0.5, 0.0, 0.5):
        c.line([(50 + x * wide, top + 5), (50 + x * wide, 66)], 0.6, darker(green, 0.3))
    for _ in range(26):
        x, y = 50 + rng.uniform(-0.85, 0.85) * wide, rng.uniform(top + 5, 64)
        c.line([(x - 0.9, y - 0.9), (x + 0.9, y + 0.9)], 0.3, (240, 236, 214))
    if rng.random() < 0.6:
        for petal in range(6):
            angle = petal * math.tau / 6
            c.ellipse(
                50 + 3 * math.cos(angle), top - 1 + 2 * math.sin(angle), 2.4, 2.4, (240, 110, 146)
            )
        c.ellipse(50, top - 1, 1.8, 1.8, (250, 214, 96))
    c.polygon([(32, 66), (68, 66), (63, 90), (37, 90)], f)
    c.box(30, 62, 70, 69, Fill(lighter(f.colour, 0.14), f.accent, None), 1.6)
