"""Photograph-like pictures of bands: a relief lit from the side, with blur and sensor noise."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

# These control the difficulty: nuisances that all members of the family share.
WARP = (0.05, 0.3)  # how far the bands are bent out of place, in wavelengths; more: harder
GRAIN = (0.01, 0.05)  # height of the fine roughness, that of the bands being 1; more: harder
STONES = (0, 3)  # round things lying on the bands; more: harder
BLUR = (0.0, 1.6)  # px, where the picture is most out of focus; more: harder
SENSOR_NOISE = (1.0, 8.0)  # standard deviation, of 255; more: harder

Field = NDArray[np.float64]
Relief = Callable[[np.random.Generator, Field, float], Field]


@dataclass(frozen=True)
class Scene:
    """One member of the family.

    Attributes:
        relief: bands in -1..1 from a grid and a wavelength.
        wavelength: range, in shorter sides; shorter: harder.
        hue: range of the base hue, 0..1, sand to violet: nothing like skin. The less the members' overlap, the easier.

    """

    relief: Relief
    wavelength: tuple[float, float]
    hue: tuple[float, float]


def photograph(rng: np.random.Generator, size: tuple[int, int], scene: Scene) -> Image.Image:
    """Return an RGB picture of `size` (width, height in px) of a scene."""
    wavelength = rng.uniform(*scene.wavelength) * min(size)
    grid = np.indices(size[::-1]).astype(np.float64)
    bend = np.stack([_noise(rng, grid.shape[1:], 1.5 * wavelength) for _ in range(2)])
    bands = scene.relief(rng, grid + rng.uniform(*WARP) * wavelength * bend, wavelength)
    surface = np.abs(0.5 + 0.5 * bands) ** rng.uniform(0.7, 1.5) * rng.choice([-1.0, 1.0])
    surface += rng.uniform(*GRAIN) * _noise(rng, surface.shape, 2.0)
    colours = _colours(rng, surface, rng.uniform(*scene.hue)) * _light(rng, surface * wavelength)[..., None]
    for _ in range(rng.integers(*STONES, endpoint=True)):
        _lay_stone(rng, colours, grid)
    return _expose(rng, colours, grid)


def dunes(rng: np.random.Generator, grid: Field, wavelength: float) -> Field:
    """Return parallel bands in -1..1 on `grid` (2, height, width)."""
    return _wave(rng.uniform(0.0, np.pi), rng.random(), grid / wavelength)


def rings(rng: np.random.Generator, grid: Field, wavelength: float) -> Field:
    """Return bands around a centre in the picture's inner part, in -1..1, on `grid` (2, height, width)."""
    centre = rng.uniform(0.3, 0.7, (2, 1, 1)) * np.array(grid.shape[1:])[:, None, None]
    radius = np.hypot(*(grid - centre)) / wavelength
    bands: Field = np.cos(2 * np.pi * (radius + rng.random()))
    return bands


def labyrinth(rng: np.random.Generator, grid: Field, wavelength: float) -> Field:
    """Return winding bands in -1..1 on `grid` (2, height, width): many waves of one length in all directions."""
    waves = [_wave(turn, rng.random(), grid / wavelength) for turn in rng.uniform(0.0, 2 * np.pi, 24)]
    bands: Field = np.tanh(2.0 * np.sum(waves, axis=0) / np.sqrt(len(waves)))
    return bands


DUNES = Scene(dunes, wavelength=(0.11, 0.16), hue=(0.12, 0.42))
RINGS = Scene(rings, wavelength=(0.14, 0.19), hue=(0.31, 0.61))
LABYRINTH = Scene(labyrinth, wavelength=(0.17, 0.22), hue=(0.5, 0.8))


def _wave(turn: float, phase: float, grid: Field) -> Field:
    bands: Field = np.cos(2 * np.pi * (np.cos(turn) * grid[0] + np.sin(turn) * grid[1] + phase))
    return bands


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Return smooth noise of mean 0 and standard deviation 1; `scale` is the size of its blobs in px."""
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-(rows**2 + columns**2) * (np.pi * scale) ** 2 / 2)
    field = np.fft.irfft2(spectrum, s=shape)
    normalised: Field = (field - field.mean()) / (field.std() + 1e-9)
    return normalised


def _colours(rng: np.random.Generator, surface: Field, hue: float) -> Field:
    """Return (height, width, 3) in 0..1: one colour in the valleys, a kindred one on the crests, patches of a third."""
    saturation = rng.uniform(0.15, 0.6)
    low, high, patch = (
        _rgb(hue + rng.uniform(-0.06, 0.06), saturation, rng.uniform(*value))
        for value in ((0.4, 0.85), (0.65, 1.0), (0.5, 1.0))
    )
    share = ((surface - surface.min()) / np.ptp(surface))[..., None]
    patches = (0.6 / (1.0 + np.exp(-3.0 * _noise(rng, surface.shape, 25.0))))[..., None]
    colours: Field = (low + (high - low) * share) * (1.0 - patches) + patch * patches
    return colours


def _light(rng: np.random.Generator, surface: Field) -> Field:
    """Return the brightness of `surface` (heights in px) under a low sun somewhere, with a wide shadow across it."""
    down, right = np.gradient(surface * rng.uniform(0.25, 0.5))
    sun, height = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.5, 1.2)
    lit = (height - np.sin(sun) * down - np.cos(sun) * right) / np.sqrt((1 + down**2 + right**2) * (1 + height**2))
    lit = np.clip(lit, 0.0, 1.0)
    shadow = 1.0 + 0.15 * _noise(rng, surface.shape, 40.0)
    brightness: Field = (rng.uniform(0.25, 0.45) + 0.9 * lit + rng.uniform(0.0, 0.4) * lit**12) * shadow
    return brightness


def _lay_stone(rng: np.random.Generator, colours: Field, grid: Field) -> None:
    """Paint one soft-edged, lit ellipsoid over `colours`, in place."""
    sides = np.array(grid.shape[1:])
    centre, radius = rng.random(2) * sides, rng.uniform(0.04, 0.1) * sides.min()
    turn, sun = rng.uniform(0.0, 2 * np.pi, 2)
    down, right = grid - centre[:, None, None]
    along, across = np.cos(turn) * down + np.sin(turn) * right, np.cos(turn) * right - np.sin(turn) * down
    distance = np.hypot(along, across * rng.uniform(1.0, 1.6))
    cover = np.clip((radius - distance) / 2.0, 0.0, 1.0)[..., None]
    shade = np.clip(0.6 - 0.5 * (np.sin(sun) * down + np.cos(sun) * right) / radius, 0.1, 1.1)[..., None]
    colours *= 1.0 - cover
    colours += cover * shade * _rgb(rng.random(), rng.uniform(0.0, 0.4), rng.uniform(0.3, 1.0))


def _expose(rng: np.random.Generator, colours: Field, grid: Field) -> Image.Image:
    """Blur what is far from a plane of focus, darken the corners, add sensor noise."""
    sharp = _image(255.0 * colours)
    soft = np.asarray(sharp.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR))), dtype=np.float64)
    across = grid / np.array(grid.shape[1:])[:, None, None] - 0.5
    turn = rng.uniform(0.0, 2 * np.pi)
    plane = np.sin(turn) * across[0] + np.cos(turn) * across[1] - rng.uniform(-0.3, 0.3)
    blurred = np.clip(3.0 * np.abs(plane) - 0.3, 0.0, 1.0)[..., None]
    seen = np.asarray(sharp, dtype=np.float64) * (1.0 - blurred) + soft * blurred
    seen *= 1.0 - rng.uniform(0.0, 0.8) * (across**2).sum(axis=0)[..., None]
    return _image(seen + rng.normal(0.0, rng.uniform(*SENSOR_NOISE), seen.shape))


def _rgb(hue: float, saturation: float, value: float) -> Field:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _image(pixels: Field) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
