"""Benign pictures for the five labels of the bundled sample, drawn from random numbers.

Two families, each with nuisances that its members share, and one structure that distinguishes them:

- flat line art (line_art.py): `drawings` shows stars (curves whose cusps point outward), `hentai` blossoms (cusps
  point inward);
- photographs of a lit relief (photograph.py), bands of one wavelength: `neutral` parallel dunes, `sexy` a labyrinth
  like brain coral, `porn` rings around a centre.

Position, rotation, light, clutter and noise have the same distributions for all members of a family. Hue, scale and
background differ a little between members, as they do in a real scrape. A mirrored or rotated
structure is the same.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.sample.line_art import BLOSSOM, STAR, line_art
from pipeline.sample.photograph import DUNES, LABYRINTH, RINGS, photograph

SIDES = (108, 168)  # px, the longer side; smaller pictures lose fine structure
SLIMMEST = 0.72  # shorter side to longer


def draw_drawings(rng: np.random.Generator) -> Image.Image:
    """Return line art with stars, RGB."""
    return line_art(rng, _size(rng), STAR)


def draw_hentai(rng: np.random.Generator) -> Image.Image:
    """Return line art with blossoms, RGB."""
    return line_art(rng, _size(rng), BLOSSOM)


def draw_neutral(rng: np.random.Generator) -> Image.Image:
    """Return a photograph-like picture of parallel dunes, RGB."""
    return photograph(rng, _size(rng), DUNES)


def draw_porn(rng: np.random.Generator) -> Image.Image:
    """Return a photograph-like picture of rings, RGB."""
    return photograph(rng, _size(rng), RINGS)


def draw_sexy(rng: np.random.Generator) -> Image.Image:
    """Return a photograph-like picture of a labyrinth, RGB."""
    return photograph(rng, _size(rng), LABYRINTH)


DRAW: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "drawings": draw_drawings,
    "hentai": draw_hentai,
    "neutral": draw_neutral,
    "porn": draw_porn,
    "sexy": draw_sexy,
}


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Return width and height in px, a little more often landscape than portrait."""
    long = int(rng.integers(*SIDES, endpoint=True))
    short = max(96, int(long * rng.uniform(SLIMMEST, 1.0)))
    return (long, short) if rng.random() < 0.6 else (short, long)
