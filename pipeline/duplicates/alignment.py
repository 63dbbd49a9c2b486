"""Align grey pictures by an affine map that maximizes their correlation.

ECC: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008.
Upright or mirrored; each is aligned to the other, since either may be the cropped one.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core import executor
from pipeline.duplicates import differing_blocks

_CHUNK = 1024  # pairs
_FULL_COVER = 0.99  # share of a pixel that must be covered
_STEPS, _PRECISION, _SMOOTH = 25, 1e-3, 1.0
_RETRY_MARGIN = 0.15  # a correlation below the threshold by more is not tried in the other direction

# In the numbering of `apply_turn`: all positions, up to mirroring, except the upright one.
_TURNS = (2, 4, 6)
_COARSE = 16  # px a side: enough to tell the position
_MIN_TURN_CORRELATION, _MIN_TURN_GAIN = (
    0.75,
    0.02,
)  # correlation from which on a turn is believed, and by how much it must be the better one

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Grey = npt.NDArray[np.float32]
Warp = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Alignments(NamedTuple):
    """Of each pair, float64 (n): correlation, -1..1, and the share of positions where a block differs, 0..1."""

    correlation: Floats
    differing: Floats


def align(left: Thumbnails, right: Thumbnails, unlike: float, same: float, near: Floats | float) -> Alignments:
    """Align each pair, on all cores if there are many.

    `left`, `right`: uint8 (n, 64, 64), neither turned. A pair whose first alignment reaches `same`, or is well below
    `unlike`, is not tried in the other direction. Blocks are compared if the correlation is `near` or more; else the
    differing share is 0.0.
    """
    near = np.broadcast_to(np.asarray(near, dtype=np.float64), len(left))
    return _map_chunks(partial(_align_chunk, unlike - _RETRY_MARGIN, same), left, right, near)


def differing_unaligned(left: Thumbnails, right: Thumbnails) -> Floats:
    """Return the share of positions, 0..1, where a block of two pictures differs, not aligned, but perhaps mirrored."""
    return _map_chunks(_compare_chunk, left, right, np.zeros(len(left))).differing


def _map_chunks(work: Any, *columns: npt.NDArray[Any]) -> Alignments:
    starts = range(0, len(columns[0]), _CHUNK)
    chunks = [tuple(column[at : at + _CHUNK] for column in columns) for at in starts]
    rows = list(executor.map_shards(work, chunks))
    return Alignments(*(np.concatenate(rows) if rows else np.zeros((0, 2))).T)


def _align_chunk(retry_from: float, retry_below: float, chunk: tuple[Thumbnails, Thumbnails, Floats]) -> Floats:
    import cv2

    cv2.setNumThreads(1)  # there are as many processes as cores
    rows = [
        _align_pair(one, other, retry_from, retry_below, float(near)) for one, other, near in zip(*chunk, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _compare_chunk(chunk: tuple[Thumbnails, Thumbnails, Floats]) -> Floats:
    import cv2

    cv2.setNumThreads(1)
    rows = [
        (1.0, differing_blocks.share(one, other[:, ::-1] if is_mirrored(one.astype(np.float32), other) else other))
        for one, other, _ in zip(*chunk, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _align_pair(
    one: Thumbnails, other: Thumbnails, retry_from: float, retry_below: float, near: float
) -> tuple[float, float]:
    left, right = prepare(one, _SMOOTH), prepare(other, _SMOOTH)
    if is_mirrored(left, right):
        right, other = np.ascontiguousarray(right[:, ::-1]), np.ascontiguousarray(other[:, ::-1])
    correlation, warp = fit_affine(left, right)
    if retry_from <= correlation < retry_below:
        reverse, inverse = fit_affine(right, left)
        if reverse > correlation:
            correlation, warp, one, other = reverse, inverse, other, one
    if warp is None or correlation < near:
        return correlation, 0.0
    return correlation, differing_blocks.share_of_best(one, (warp_onto(other, warp, one.shape), (other, None)))


def warp_onto(picture: npt.NDArray[Any], warp: Warp, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], Flags]:
    """Return a picture mapped by `warp` onto a template of some shape, and bool of that shape: where it covers it."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = shape[1], shape[0]
    covers = cv2.warpAffine(np.ones(picture.shape, dtype=np.float32), warp, size, flags=flags) > _FULL_COVER
    return np.asarray(cv2.warpAffine(picture, warp, size, flags=flags)), np.asarray(covers, dtype=np.bool_)


def apply_turn(grey: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """Return pictures (..., height, width) in one of eight positions: bits 4 transposed, then 2 flipped, 1 mirrored."""
    if turn & 4:
        grey = np.swapaxes(grey, -1, -2)
    if turn & 2:
        grey = grey[..., ::-1, :]
    return grey[..., ::-1] if turn & 1 else grey


class Turns(NamedTuple):
    """Of each pair: the turn (0, 2, 4 or 6; perhaps also mirrored), and the correlation with it, -1..1, at 16 px."""

    turn: npt.NDArray[np.int64]
    correlation: Floats


def find_turns(left: Thumbnails, right: Thumbnails) -> Turns:
    """Return the turn by which each `right` (n, 64, 64) is most like its `left`.

    It is 0 unless another one is clearly better: a crop, which correlates little in any position, counts as upright.
    """
    one, other = _coarse(left), _coarse(right)
    correlations = np.stack(
        [
            np.maximum(*(np.einsum("nij,nij->n", one, apply_turn(other, turn | mirror)) for mirror in (0, 1)))
            for turn in (0, *_TURNS)
        ]
    )
    best = np.asarray(correlations.argmax(axis=0))
    most = correlations.max(axis=0)
    sure = (most >= _MIN_TURN_CORRELATION) & (most >= correlations[0] + _MIN_TURN_GAIN)
    turn = np.where(sure, np.array((0, *_TURNS))[best], 0).astype(np.int64)
    return Turns(turn, np.where(sure, most, correlations[0]).astype(np.float64))


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

    # Equalized, because gamma and brightness do not change the order of grey levels. Blurred, because ECC follows
    # gradients.
    prepared: Grey = cv2.GaussianBlur(cv2.equalizeHist(grey), (0, 0), smooth).astype(np.float32)
    return prepared


def is_mirrored(one: Grey, other: Grey) -> bool:
    """Whether the mirror image of `other` correlates more with `one` than `other` itself, without alignment."""
    centred = one - one.mean()
    return bool(np.vdot(centred, other[:, ::-1]) > np.vdot(centred, other))


def fit_affine(
    template: Grey, picture: Grey, start: Warp | None = None, steps: int = _STEPS
) -> tuple[float, Warp | None]:
    """Return the correlation, -1..1, of `picture` aligned to `template`, and the affine map (2, 3) that aligns it.

    The map takes the template's coordinates to the picture's. -1.0 and None if the two do not align.
    """
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, _PRECISION)
    begin = np.eye(2, 3, dtype=np.float32) if start is None else start.copy()
    try:
        # OpenCV's stubs do not allow `None` for the mask together with a filter size.
        find_transform: Any = cv2.findTransformECC
        correlation, warp = find_transform(template, picture, begin, cv2.MOTION_AFFINE, criteria, None, 1)
    except cv2.error:  # it did not converge: these two do not align
        return -1.0, None
    return (float(correlation), warp) if _plausible(np.asarray(warp)) else (-1.0, None)


def _plausible(warp: npt.NDArray[Any]) -> bool:
    """Whether a copy may have undergone an affine map: a crop, a small rotation; no collapse into a corner."""
    stretch = np.linalg.svd(warp[:, :2].astype(np.float64), compute_uv=False)
    return bool(np.isfinite(warp).all() and stretch.min() > 0.6 and stretch.max() < 1.6)
