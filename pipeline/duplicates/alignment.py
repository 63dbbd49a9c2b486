"""Grey pictures laid over one another by an affine map that maximizes their correlation.

ECC: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008;
upright or mirrored, each laid over the other, since either may be the cut one.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core import executor
from pipeline.duplicates import differing_blocks

_CHUNK = 1024  # pairs
_WHOLLY = 0.99  # how much of a pixel must be covered
_STEPS, _PRECISION, _SMOOTH = 25, 1e-3, 1.0
_HOPELESS = 0.15  # below what is asked for: not tried the other way round

# As `turned` understands them: what is neither upright nor mirrored, but one of these or its mirror image.
_TURNS = (2, 4, 6)
_COARSE = 16  # px a side: enough to tell which way up
_CLEARLY, _MORE = 0.75, 0.02  # correlation from which on a turn is believed, and by how much it must be the better one

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Grey = npt.NDArray[np.float32]
Warp = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Aligned(NamedTuple):
    """Of each pair, float64 (n): correlation, -1..1, and the share of places where a block differs, 0..1."""

    correlation: Floats
    differing: Floats


def align(left: Thumbnails, right: Thumbnails, unlike: float, same: float, near: Floats | float) -> Aligned:
    """Lay each pair over one another; by all cores where there are many.

    `left`, `right`: uint8 (n, 64, 64), neither turned. A pair whose first alignment reaches `same`, or stays well below
    `unlike`, is not tried the other way round. Blocks are compared from a correlation of `near` on; 0.0 below it.
    """
    near = np.broadcast_to(np.asarray(near, dtype=np.float64), len(left))
    return _by_chunk(partial(_align_chunk, unlike - _HOPELESS, same), left, right, near)


def standing(left: Thumbnails, right: Thumbnails) -> Floats:
    """Return the share of places where a block of two pictures differs as they stand, or mirrored."""
    return _by_chunk(_stand_chunk, left, right, np.zeros(len(left))).differing


def _by_chunk(work: Any, *columns: npt.NDArray[Any]) -> Aligned:
    starts = range(0, len(columns[0]), _CHUNK)
    chunks = [tuple(column[at : at + _CHUNK] for column in columns) for at in starts]
    rows = list(executor.map_shards(work, chunks))
    return Aligned(*(np.concatenate(rows) if rows else np.zeros((0, 2))).T)


def _align_chunk(least: float, enough: float, chunk: tuple[Thumbnails, Thumbnails, Floats]) -> Floats:
    import cv2

    cv2.setNumThreads(1)  # the processes are as many as the cores
    rows = [_aligned(one, other, least, enough, float(near)) for one, other, near in zip(*chunk, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _stand_chunk(chunk: tuple[Thumbnails, Thumbnails, Floats]) -> Floats:
    import cv2

    cv2.setNumThreads(1)
    rows = [
        (1.0, differing_blocks.share(one, other[:, ::-1] if mirrored(one.astype(np.float32), other) else other))
        for one, other, _ in zip(*chunk, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _aligned(one: Thumbnails, other: Thumbnails, least: float, enough: float, near: float) -> tuple[float, float]:
    left, right = prepare(one, _SMOOTH), prepare(other, _SMOOTH)
    if mirrored(left, right):
        right, other = np.ascontiguousarray(right[:, ::-1]), np.ascontiguousarray(other[:, ::-1])
    correlation, warp = overlay(left, right)
    if least <= correlation < enough:
        back, inverse = overlay(right, left)
        if back > correlation:
            correlation, warp, one, other = back, inverse, other, one
    if warp is None or correlation < near:
        return correlation, 0.0
    return correlation, differing_blocks.share_of_best(one, (laid(other, warp, one.shape), (other, None)))


def laid(picture: npt.NDArray[Any], warp: Warp, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], Flags]:
    """Return a picture laid over a template of some shape by `warp`, and where it covers that."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = shape[1], shape[0]
    covers = cv2.warpAffine(np.ones(picture.shape, dtype=np.float32), warp, size, flags=flags) > _WHOLLY
    return np.asarray(cv2.warpAffine(picture, warp, size, flags=flags)), np.asarray(covers, dtype=np.bool_)


def turned(grey: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """Return pictures (..., height, width) in one of eight positions: bits 4 transposed, then 2 flipped, 1 mirrored."""
    if turn & 4:
        grey = np.swapaxes(grey, -1, -2)
    if turn & 2:
        grey = grey[..., ::-1, :]
    return grey[..., ::-1] if turn & 1 else grey


class Turning(NamedTuple):
    """Of each pair: the turn (0, 2, 4 or 6; then perhaps mirrored), and the correlation, -1..1, at 16 x 16 px so."""

    turn: npt.NDArray[np.int64]
    likeness: Floats


def turning(left: Thumbnails, right: Thumbnails) -> Turning:
    """Return by which turn each `right` (n, 64, 64) is most like its `left`.

    0 unless another is clearly better: a crop, which correlates with nothing much, is upright.
    """
    one, other = _coarse(left), _coarse(right)
    likeness = np.stack(
        [
            np.maximum(*(np.einsum("nij,nij->n", one, turned(other, turn | mirror)) for mirror in (0, 1)))
            for turn in (0, *_TURNS)
        ]
    )
    best = np.asarray(likeness.argmax(axis=0))
    most = likeness.max(axis=0)
    sure = (most >= _CLEARLY) & (most >= likeness[0] + _MORE)
    turn = np.where(sure, np.array((0, *_TURNS))[best], 0).astype(np.int64)
    return Turning(turn, np.where(sure, most, likeness[0]).astype(np.float64))


def _coarse(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    rows, height, width = thumbnails.shape
    blocks = thumbnails.reshape(rows, _COARSE, height // _COARSE, _COARSE, width // _COARSE)
    small = blocks.mean(axis=(2, 4), dtype=np.float32)
    small -= small.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((small**2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(small / np.maximum(norm, np.float32(1e-6)))


def prepare(grey: Thumbnails, smooth: float) -> Grey:
    """Return a grey picture with its levels equalized, blurred by `smooth` px (standard deviation)."""
    import cv2

    # Equalized: gamma and brightness change no order of grey levels. Smoothed: ECC follows gradients.
    prepared: Grey = cv2.GaussianBlur(cv2.equalizeHist(grey), (0, 0), smooth).astype(np.float32)
    return prepared


def mirrored(one: Grey, other: Grey) -> bool:
    """Whether the mirror image of the other is more like the one, as they stand."""
    centred = one - one.mean()
    return bool(np.vdot(centred, other[:, ::-1]) > np.vdot(centred, other))


def overlay(template: Grey, picture: Grey, start: Warp | None = None, steps: int = _STEPS) -> tuple[float, Warp | None]:
    """Return the correlation, -1..1, once `picture` is laid over `template`, and the affine map (2, 3) that does it.

    The map takes the template's coordinates to the picture's. -1.0 and None where they do not align.
    """
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, _PRECISION)
    begin = np.eye(2, 3, dtype=np.float32) if start is None else start.copy()
    try:
        # Its stubs know no `None` for the mask beside a filter size.
        find: Any = cv2.findTransformECC
        found, warp = find(template, picture, begin, cv2.MOTION_AFFINE, criteria, None, 1)
    except cv2.error:  # it did not converge: these two do not align
        return -1.0, None
    return (float(found), warp) if _plausible(np.asarray(warp)) else (-1.0, None)


def _plausible(warp: npt.NDArray[Any]) -> bool:
    """Whether an affine map is one that a copy may have undergone: a crop, a small turn; no collapse to a corner."""
    stretch = np.linalg.svd(warp[:, :2].astype(np.float64), compute_uv=False)
    return bool(np.isfinite(warp).all() and stretch.min() > 0.6 and stretch.max() < 1.6)
