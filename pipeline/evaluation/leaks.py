"""Leaks: near copies of test pictures among the train pictures.

Each picture becomes a grey thumbnail of zero mean and unit norm. The product of two thumbnails is their correlation,
-1..1, which does not depend on brightness or contrast, and hardly on scale or compression. Mirrored copies are detected
too, cropped or framed ones only if little was cut away.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation.recall import Floats, Integers

SIDE = 16
# Standard deviation of the thumbnail, in grey levels, below which a picture is nearly of one colour, so that its
# correlation is that of noise.
FLAT = 4.0
# Measured on pictures with planted near copies, packed at 96 and 224 px: the bundled sample (104 copies in 10 ways, 1.0
# million pairs of different pictures) and flower photographs (148 in 15 ways, 1.5 million). Copies found at 0.98 and
# 0.95: 77 and 80 %, 57 and 67 %; different pictures taken for copies: none and none, none and 1 pair (34 at 0.90). What
# is recompressed, resized, grey, tinted or mirrored is found; what is bordered or letterboxed never, cropped rarely.
# 24 px instead of 16 finds up to 2 points less.
THRESHOLD = 0.98
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601's luma
_CHUNK = 4096


class Match(NamedTuple):
    """A test picture's nearest train picture: row of test, sha256 of the train picture, correlation 0..1."""

    test: int
    train: str
    correlation: float


def thumbnails(pictures: Integers) -> Floats:
    """Return float32 (n, 256) thumbnails of uint8 (n, s, s, 3) pictures, s at least 16; zeros for a flat picture.

    Each thumbnail pixel is the mean over its exact area of the picture.
    """
    area = _area(pictures.shape[1])
    grey = pictures.astype(np.float32) @ _GREY
    small = (area @ grey @ area.T).reshape(len(pictures), -1)
    small -= small.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(small, axis=1, keepdims=True)
    flat = norms < FLAT * SIDE  # the norm is the deviation times sqrt(256)
    unit: Floats = np.where(flat, 0.0, small / np.maximum(norms, 1e-6)).astype(np.float32)
    return unit


def mirror(thumbs: Floats) -> Floats:
    """Return the thumbnails (n, 256) of the mirrored pictures."""
    return thumbs.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(thumbs), -1)


def near_copies(
    test: Floats, train: Iterable[tuple[Sequence[str], Floats]], threshold: float = THRESHOLD
) -> list[Match]:
    """Return, in test's order, the nearest train picture of each test picture that has one at `threshold` or above.

    `test`: thumbnails (n, 256). `train`: chunks of (sha256, thumbnails), iterated once: memory grows with test and one
    chunk, not with train. Of equally near train pictures the first one is returned.
    """
    best = np.zeros(len(test), dtype=np.float32)
    names = np.zeros(len(test), dtype=object)
    for sha256, thumbs in train:
        for start in range(0, len(test), _CHUNK):
            part = slice(start, start + _CHUNK)
            correlations = np.maximum(test[part] @ thumbs.T, mirror(test[part]) @ thumbs.T)
            nearest = correlations.argmax(axis=1)
            correlation = correlations[np.arange(len(nearest)), nearest]
            better = correlation > best[part]
            best[part][better] = correlation[better]
            names[part][better] = np.array(sha256, dtype=object)[nearest[better]]
    rows = np.flatnonzero(best >= threshold)
    return [Match(int(row), str(names[row]), min(1.0, float(best[row]))) for row in rows]


def report(
    matches: Sequence[Match], test: Sequence[str], train_pictures: int, straddling: int, *, threshold: float, most: int
) -> dict[str, Any]:
    """Return the evidence's `leaks`, ready for JSON; `most` pairs are listed, the nearest first.

    `test`: sha256 of each test picture. `straddling`: clusters of copies with pictures in more than one split.
    """
    ordered = sorted(matches, key=lambda match: (-match.correlation, test[match.test]))
    return {
        "test_pictures": len(test),
        "train_pictures": train_pictures,
        "near": len(matches),
        "share": len(matches) / len(test) if test else None,
        "straddling": straddling,
        "threshold": threshold,
        "pairs": [
            {"test": test[match.test], "train": match.train, "correlation": round(match.correlation, 4)}
            for match in ordered[:most]
        ],
    }


def _area(size: int) -> Floats:
    """Return (16, size) weights: row k is the share of thumbnail pixel k that each picture pixel covers."""
    edges = np.arange(SIDE + 1) * size / SIDE
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(size)[None]
    covered = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0.0, None)
    weights: Floats = (covered * SIDE / size).astype(np.float32)
    return weights
