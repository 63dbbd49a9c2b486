"""Flat line art: stars or blossoms among doodles, on paper."""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# These control the difficulty: how different the two members of the family are, and how much clutter there is.
STAR_BEND = (0.35, 0.6)  # of an arm's profile 1 - |t| ** bend; nearer to 1 (straight edges): harder
BLOSSOM_BEND = (2.5, 4.0)  # likewise, from the other side
MOTIFS = (2, 4)  # stars or blossoms a picture; fewer: harder
MOTIF_RADIUS = (0.28, 0.4)  # of the shorter side; smaller: harder
ECHOES = (1, 3)  # outlines repeated inside a motif; fewer: harder
DOODLES = (2, 4)  # small things beside them; more: harder
KINDRED = 0.95  # share of the doodles as sharp or round as the motifs; 0.5 says nothing: harder

Points = NDArray[np.float64]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """One member of the family. The more the members differ, the easier the task.

    Attributes:
        bend: range of the exponent of an arm's profile.
        waist: range of the radius at which an arm starts, in its length; smaller: deeper notches between arms.
        sharp: whether most of its doodles have corners.
        backdrops: probabilities of an empty backdrop, dots, hatching and a horizon.
        stroke: range of the line's width, px before the picture is halved.
        night: probability of light lines on dark paper.

    """

    bend: tuple[float, float]
    waist: tuple[float, float]
    sharp: bool
    backdrops: tuple[float, float, float, float]
    stroke: tuple[int, int]
    night: float


STAR = Style(STAR_BEND, waist=(0.25, 0.4), sharp=True, backdrops=(0.15, 0.05, 0.65, 0.15), stroke=(2, 3), night=0.1)
BLOSSOM = Style(
    BLOSSOM_BEND, waist=(0.4, 0.55), sharp=False, backdrops=(0.15, 0.65, 0.05, 0.15), stroke=(4, 5), night=0.4
)


@dataclass(frozen=True)
class _Sheet:
    rng: np.random.Generator
    pen: ImageDraw.ImageDraw
    size: Points  # width and height, px
    ink: Rgb
    fills: list[Rgb]
    stroke: int

    def fill(self) -> Rgb:
        return self.fills[self.rng.integers(len(self.fills))]

    def shape(self, outline: Points) -> None:
        points = _pairs(outline)
        self.pen.polygon(points, fill=self.fill())
        self.pen.line([*points, *points[:2]], fill=self.ink, width=self.stroke, joint="curve")

    def line(self, points: Points) -> None:
        self.pen.line(_pairs(points), fill=self.ink, width=self.stroke, joint="curve")

    def disc(self, centre: Points, radius: float) -> None:
        box = (*(centre - radius).tolist(), *(centre + radius).tolist())
        self.pen.ellipse(box, fill=self.fill(), outline=self.ink, width=self.stroke)


def line_art(rng: np.random.Generator, size: tuple[int, int], style: Style) -> Image.Image:
    """Return an RGB picture of `size` (width, height in px) in `style`."""
    paper, ink, *fills = _palette(rng, night=rng.random() < style.night)
    large = (2 * size[0], 2 * size[1])  # reduced at the end, which smooths the edges
    image = Image.new("RGB", large, paper)
    stroke = int(rng.integers(*style.stroke, endpoint=True))
    sheet = _Sheet(rng, ImageDraw.Draw(image), np.array(large, dtype=np.float64), ink, fills, stroke)
    _backdrop(sheet, large, int(rng.choice(4, p=style.backdrops)))
    for _ in range(rng.integers(*DOODLES, endpoint=True)):
        _doodle(sheet, sharp=style.sharp == (rng.random() < KINDRED))
    for centre, radius in _motif_positions(sheet):
        outline = radius * _flower(rng, rng.uniform(*style.bend), rng.uniform(*style.waist))
        for scale in 0.68 ** np.arange(1 + rng.integers(*ECHOES, endpoint=True)):
            sheet.shape(centre + scale * outline)
    return image.resize(size, Image.Resampling.LANCZOS)


def _flower(rng: np.random.Generator, bend: float, inner: float) -> Points:
    """Return a closed curve (240, 2) of 5 to 8 uneven arms within the unit disc: a star, or a blossom for bend > 1."""
    arms = int(rng.integers(5, 9))
    angle = np.linspace(0.0, 2 * np.pi, 240, endpoint=False)
    phase = angle * arms / (2 * np.pi)
    lengths = rng.uniform(0.85, 1.0, arms)[phase.astype(int)]
    radius = inner + (lengths - inner) * (1.0 - np.abs(2.0 * (phase % 1.0) - 1.0) ** bend)
    squeeze = np.array([1.0, rng.uniform(0.75, 1.0)])
    curve: Points = radius[:, None] * _circle(angle + rng.uniform(0.0, 2 * np.pi)) * squeeze
    return curve


def _motif_positions(sheet: _Sheet) -> list[tuple[Points, float]]:
    """Return centres and radii in px that overlap little: each the best of ten random ones."""
    rng, positions = sheet.rng, list[tuple[Points, float]]()
    for _ in range(rng.integers(*MOTIFS, endpoint=True)):
        centres = rng.uniform(0.2, 0.8, (10, 2)) * sheet.size
        gaps = [min((np.hypot(*(centre - at)) - radius for at, radius in positions), default=0.0) for centre in centres]
        positions.append((centres[int(np.argmax(gaps))], rng.uniform(*MOTIF_RADIUS) * sheet.size.min()))
    return positions


def _doodle(sheet: _Sheet, *, sharp: bool) -> None:
    """Draw a polygon or a zigzag where `sharp`, else a disc or a wave."""
    rng = sheet.rng
    centre, radius = rng.random(2) * sheet.size, rng.uniform(0.04, 0.1) * sheet.size.min()
    turn = rng.uniform(0.0, 2 * np.pi)
    if rng.random() < 0.5:
        wave = np.sin(np.linspace(-1.0, 1.0, 60) * rng.uniform(5.0, 9.0))
        along, across = np.linspace(-2.0, 2.0, 60), 0.7 * (np.arcsin(wave) if sharp else wave)
        basis = _circle(np.array([turn, turn + np.pi / 2]))
        sheet.line(centre + radius * np.stack([along, across], axis=1) @ basis)
    elif sharp:
        corners = int(rng.integers(3, 5))
        sheet.shape(centre + 1.3 * radius * _circle(turn + np.arange(corners) * 2 * np.pi / corners))
    else:
        sheet.disc(centre, radius)


def _backdrop(sheet: _Sheet, size: tuple[int, int], kind: int) -> None:
    """Draw nothing (0), dots (1), hatching (2) or a horizon (3) behind the shapes."""
    rng, pen, tint, (width, height) = sheet.rng, sheet.pen, sheet.fills[-1], size
    gap = int(rng.integers(14, 30))
    if kind == 1:
        for x, y in ((x, y) for x in range(0, width, gap) for y in range(0, height, gap)):
            pen.ellipse((x, y, x + gap / 3, y + gap / 3), fill=tint)
    elif kind == 2:
        slope = rng.uniform(-1.0, 1.0) * height
        for x in range(-height, width + height, gap):
            pen.line((x, 0, x + slope, height), fill=tint, width=2)
    elif kind == 3:
        left, right = rng.uniform(0.4, 0.8, 2) * height
        pen.polygon([(0, left), (width, right), size, (0, height)], fill=tint)


def _palette(rng: np.random.Generator, *, night: bool) -> list[Rgb]:
    """Return the colours of paper, ink and four fills; by `night` ink is lighter than paper."""
    hue = rng.random()
    light, dark = rng.uniform(0.88, 1.0), rng.uniform(0.08, 0.3)
    if night:
        light, dark = dark, light
    fills = [_rgb(hue + rng.normal(0.0, 0.25), rng.uniform(0.15, 0.6), rng.uniform(0.55, 0.98)) for _ in range(4)]
    return [_rgb(hue, rng.uniform(0.0, 0.2), light), _rgb(hue + 0.5, rng.uniform(0.1, 0.6), dark), *fills]


def _rgb(hue: float, saturation: float, value: float) -> Rgb:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _circle(angle: Points) -> Points:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _pairs(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]
