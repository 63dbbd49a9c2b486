"""Near copies of test pictures among the train pictures: what a model has seen, it is not tested on.

Each picture becomes a grey thumbnail of zero mean and unit norm; the product of two is their correlation, -1..1, which
does not care about brightness, contrast, scale or compression. Mirrored copies are looked for too; a copy that is cut
or framed is found only where little was cut away.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation.recall import Floats, Integers

SIDE = 16
# Grey levels (standard deviation of the thumbnail) below which a picture is all but one colour: there the correlation
# is one of noise, and says nothing.
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
    """Return float32 (n, 256) thumbnails of uint8 (n, s, s, 3) pictures, s at least 16; zeros where one is flat.

    Each thumbnail pixel is the mean over its exact area.
    """
    area = _area(pictures.shape[1])
    grey = pictures.astype(np.float32) @ _GREY
    small = (area @ grey @ area.T).reshape(len(pictures), -1)
    small -= small.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(small, axis=1, keepdims=True)
    flat = norms < FLAT * SIDE  # the norm is the deviation times sqrt(256)
    unit: Floats = np.where(flat, 0.0, small / np.maximum(norms, 1e-6)).astype(np.float32)
    return unit


def mirrored(thumbs: Floats) -> Floats:
    """Return the thumbnails of the mirrored pictures."""
    return thumbs.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(thumbs), -1)


def near_copies(
    test: Floats, train: Iterable[tuple[Sequence[str], Floats]], threshold: float = THRESHOLD
) -> list[Match]:
    """Return, in test's order, the nearest train picture of each test picture that has one at `threshold` or above.

    `test`: thumbnails (n, 256). `train`: chunks of (sha256, thumbnails), looked at once; memory grows with test and one
    chunk, not with train. Of equally near ones the first counts.
    """
    best = np.zeros(len(test), dtype=np.float32)
    names = np.zeros(len(test), dtype=object)
    for sha256, thumbs in train:
        for start in range(0, len(test), _CHUNK):
            part = slice(start, start + _CHUNK)
            likeness = np.maximum(test[part] @ thumbs.T, mirrored(test[part]) @ thumbs.T)
            place = likeness.argmax(axis=1)
            found = likeness[np.arange(len(place)), place]
            better = found > best[part]
            best[part][better] = found[better]
            names[part][better] = np.array(sha256, dtype=object)[place[better]]
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
