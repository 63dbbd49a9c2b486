"""Augmented views for embedding, drawn by content, so that a picture's views do not depend on other pictures."""

import numpy as np

from pipeline.model import augment
from pipeline.params.augment import Augment


def draw_views(contents: list[str], view: int, ranges: Augment, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw view number `view` (from 1) of each picture, given by its sha256; returns the shapes of `augment.draw`."""
    draws = [augment.draw(_rng(content, view, seed), 1, ranges, size) for content in contents]
    return np.concatenate([warp for warp, _ in draws]), np.concatenate([channel for _, channel in draws])


def _rng(content: str, view: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, view, int(content[:16], 16)])
