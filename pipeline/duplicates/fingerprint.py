"""What a picture looks like, in 24 hashes: a copy that was resized, recoloured, framed, turned or cropped shares one.

A hash is the signs of the 256 lowest frequencies of a picture's discrete cosine transform, as in Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, but for the threshold: zero instead of the
median (measured: no difference), so that mirroring is a change of signs, and transposing exchanges coefficients: the
picture's other seven positions cost no transform. The constant, which says nothing, is left out.

Two pictures are candidates if any view of one is near the view `full`, `trimmed` or `inner` of the other (Hamming
distance): the nearest such pair is their distance. `benchmarks/dedupe.py recall` measures which distances mean what.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images.grey import small_grey

SIDE = 64  # px of the thumbnail
BITS = 256  # of a view's hash
BYTES = BITS // 8

# Near the corners rather than in them: a crop lies anywhere, and is nearer to one of these (10 % crops found within 54
# bits of 256: 85 % of them instead of 68 %).
_CENTRE = (0.5, 0.5)
_SPOTS = ((0.15, 0.15), (0.85, 0.15), (0.15, 0.85), (0.85, 0.85))
# Name: share that is cut away of width and height, and where what is left lies (0 left or top, 1 right or bottom).
_CROPS = {
    f"crop_{round(100 * cut)}_{round(100 * x)}_{round(100 * y)}": (cut, x, y)
    for cut, spots in ((0.05, _SPOTS), (0.1, (*_SPOTS, _CENTRE)), (0.2, (*_SPOTS, _CENTRE)))
    for x, y in spots
}
# As `alignment.turned` numbers them, from 1 on: 4 transposed, then 2 flipped top to bottom, 1 mirrored.
_TURNED = ("mirrored", "flipped", "turned_180", "transposed", "turned_270", "turned_90", "transposed_turned")
VIEWS: tuple[str, ...] = ("full", "trimmed", "inner", *_TURNED, *_CROPS)

_WHOLE = (0.0, 1.0)
_SCALE = 2**14
# A frame: rows whose pixels, but for a few (noise, ringing), lie near the outermost row's median grey.
_NEAR = 12  # grey levels
_FEW = 0.03  # of a row
_FEW_ROWS = 8
_MOST = 0.45  # of a side's length may be frame, at each end
_LEFT_OVER = 0.2  # of width and height must be left, or it is a flat picture rather than a frame
# A photograph within a screen: what lies between rows or columns that are plain, though others beyond hold text.
_INNER = 0.15  # share of the picture that it must cover
_PASSES = 4  # rows, columns, and again
_SHOWN = 0.8  # and at most: what is left of more is an edge
_SAMPLES = 16  # of a row's pixels: enough to see that it is not plain
_GAP = 0.03  # of the rows at least are plain, or none is a cut

Box = tuple[int, int, int, int]  # left, top, right, bottom (px)
Pixels = npt.NDArray[np.uint8]
Exact = npt.NDArray[np.float64]  # integers below 2^53: sums come out the same in whatever order a machine adds


class Fingerprint(NamedTuple):
    """What is kept of a content to find its copies.

    `hashes`: 32 bytes for each of VIEWS, in order; `np.unpackbits` gives a view's 256 bits, lowest frequency first.
    `thumbnail`: 64 x 64 grey bytes, row by row, of the upright picture without its frame, squeezed to a square.
    `contrast`: the thumbnail's standard deviation, 0 (flat) to 127.5. `frame`: share of the picture that is frame, or
    a screen around a photograph.
    """

    hashes: bytes
    thumbnail: bytes
    contrast: float
    frame: float


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an upright picture (RGB or grey, any size), the same on every machine.

    Hashing is exact integer arithmetic on 64 x 64 grey pixels. A frequency that is not there at all (its coefficient
    is 0, as all are of a flat picture) has the bit 0.
    """
    grey = small_grey(image)
    pixels = np.asarray(grey)
    whole = (0, 0, *grey.size)
    box = frame_box(pixels)
    inner = inner_box(pixels, box)
    trimmed = _thumbnail(grey, box)
    found = _coefficients(trimmed)
    full, within = (found[:1] if cut == box else _whole_coefficients(_thumbnail(grey, cut)) for cut in (whole, inner))
    positive = np.concatenate([full, found[:1], within, found[1:]]).reshape(-1, found[0].size).take(_LOWEST, axis=1) > 0
    bits = np.concatenate([positive[:3], _turned(found[0]), positive[3:]])
    frame = 1 - (inner[2] - inner[0]) * (inner[3] - inner[1]) / (grey.width * grey.height)
    return Fingerprint(np.packbits(bits, axis=1).tobytes(), trimmed.tobytes(), _contrast(trimmed), round(frame, 4))


def _turned(found: Exact) -> npt.NDArray[np.bool_]:
    """Return the bits of a picture's other seven positions, in the order of _TURNED, out of its coefficients."""
    upright, transposed = found.take(_LOWEST), found.take(_LOWEST_TRANSPOSED)
    above = np.where(_TRANSPOSED, transposed > 0, upright > 0)
    below = np.where(_TRANSPOSED, transposed < 0, upright < 0)
    return np.asarray(np.where(_REVERSED, below, above))


def inner_box(grey: Pixels, box: Box) -> Box:
    """Return left, top, right, bottom (px) of the photograph that a screen or page shows; `box` if it shows none.

    `box`: what `frame_box` left. Plain rows and columns are cuts: of what lies between them the tallest, then the
    widest is followed, until it holds no more. A status bar's clock, or a caption, is thin.
    """
    left, top, right, bottom = box
    for number in range(_PASSES):
        part = grey[top:bottom, left:right]
        if number % 2 == 0:
            begin, end = _tallest(part)
            top, bottom = top + begin, top + end
        else:
            begin, end = _tallest(part.T)
            left, right = left + begin, left + end
        if number and end - begin == part.shape[number % 2]:
            break
    area = (right - left) * (bottom - top)
    shown = _INNER * grey.size <= area <= _SHOWN * (box[2] - box[0]) * (box[3] - box[1])
    return (left, top, right, bottom) if shown else box


def _tallest(rows: Pixels) -> tuple[int, int]:
    """Return where the longest run of rows that are not plain begins and ends; all of them, if none or all are."""
    step = max(1, rows.shape[1] // _SAMPLES)
    some = np.ascontiguousarray(rows[:, step // 2 :: step].T)
    perhaps = np.flatnonzero(some.max(axis=0) - some.min(axis=0) <= 2 * _NEAR)
    if len(perhaps) < _GAP * len(rows):
        return 0, len(rows)
    level = np.sort(rows[perhaps], axis=1)[:, rows.shape[1] // 2, None].astype(np.int16)
    apart = np.abs(rows[perhaps].astype(np.int16) - level) > _NEAR
    cuts = perhaps[apart.sum(axis=1) <= _FEW * rows.shape[1]]
    edges = [-1, *cuts.tolist(), len(rows)]
    longest = max(range(len(cuts) + 1), key=lambda gap: edges[gap + 1] - edges[gap])
    begin, end = edges[longest] + 1, edges[longest + 1]
    return (begin, end) if end > begin else (0, len(rows))


def frame_box(grey: Pixels) -> Box:
    """Return left, top, right, bottom (px) of what lies within a plain frame, or bars, of any grey level."""
    height, width = grey.shape
    top, bottom = _ends(grey)
    left, right = _ends(grey[top : height - bottom].T)
    return left, top, width - right, height - bottom


def _ends(rows: Pixels) -> tuple[int, int]:
    """Return how many rows at the beginning and at the end are frame."""
    first, last = _frame_rows(rows), _frame_rows(rows[::-1])
    return (first, last) if len(rows) - first - last >= _LEFT_OVER * len(rows) else (0, 0)


def _frame_rows(rows: Pixels) -> int:
    """Return how many rows from the first on look like it, which is plain: 0 if it is not."""
    level = int(np.sort(rows[0])[rows.shape[1] // 2])
    if not _plain(rows[:1], level)[0]:
        return 0
    most = int(_MOST * len(rows))
    for count in (min(_FEW_ROWS, most), most):  # most frames are of few rows, or none
        plain = _plain(rows[:count], level)
        if not plain.all():
            return int(plain.argmin())
    return most


def _plain(rows: Pixels, level: int) -> npt.NDArray[np.bool_]:
    """Return for each row whether it is `level` all along, but for a few pixels."""
    apart = (rows < level - _NEAR) | (rows > level + _NEAR)
    return np.asarray(apart.sum(axis=1) <= _FEW * rows.shape[1])


def _thumbnail(grey: Image.Image, box: Box) -> Pixels:
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, box))


def _contrast(thumbnail: Pixels) -> float:
    values = thumbnail.astype(np.int64).ravel()
    squares = values.size * int(values @ values) - int(values.sum()) ** 2
    return round(float(np.sqrt(squares)) / values.size, 3)


def _coefficients(thumbnail: Pixels) -> Exact:
    """Return the cosine coefficients (views, vertical, horizontal) of rectangles of a thumbnail: the whole, the crops.

    A view is no picture cut out and resized: the cosines are laid over its part of the thumbnail's width and height.
    """
    # Interval by interval: one large product wakes BLAS' threads, and costs ten times as much on busy cores.
    down = np.matmul(_COSINES, _centred(thumbnail))
    return np.asarray(np.matmul(down[_PLACES[:, 1]], _ACROSS))


def _whole_coefficients(thumbnail: Pixels) -> Exact:
    """Return the same of the whole thumbnail alone, (1, vertical, horizontal)."""
    return np.asarray((_COSINES[_PLACES[0, 1]] @ _centred(thumbnail) @ _ACROSS[0])[None])


def _centred(thumbnail: Pixels) -> Exact:
    pixels = thumbnail.astype(np.float64)
    pixels -= np.rint(pixels.mean())  # a flat picture is 0 everywhere
    return pixels


def _lowest() -> npt.NDArray[np.intp]:
    """Return the (vertical, horizontal) frequencies (BITS, 2) nearest to (0, 0), without it, the nearest first."""
    frequencies = [(v, u) for v in range(SIDE // 2) for u in range(SIDE // 2) if v or u]
    return np.array(sorted(frequencies, key=lambda vu: (vu[0] ** 2 + vu[1] ** 2, vu))[:BITS], dtype=np.intp)


def _cosines(interval: tuple[float, float], count: int) -> Exact:
    """Return cosines of 0 to count - 1 half periods over an interval of [0, 1]: (count, SIDE), scaled to integers.

    A value is the cosine's integral over the part of its pixel that lies in the interval.
    """
    begin, end = interval
    edges = np.clip(np.linspace(0.0, 1.0, SIDE + 1), begin, end)
    turns = np.pi * np.arange(1, count)[:, None]
    risen = np.sin(turns * (edges - begin) / (end - begin)) / turns
    values = np.concatenate([np.diff(edges)[None], np.diff(risen, axis=1)])
    return np.asarray(np.rint(values * SIDE * _SCALE))


def _intervals() -> tuple[list[tuple[float, float]], npt.NDArray[np.intp]]:
    """Return the distinct intervals, and of `trimmed` and each crop which two are its (horizontal, vertical)."""
    wanted = [(_WHOLE, _WHOLE)]
    wanted += [((cut * x, 1 - cut + cut * x), (cut * y, 1 - cut + cut * y)) for cut, x, y in _CROPS.values()]
    distinct = sorted({interval for pair in wanted for interval in pair})
    return distinct, np.array([[distinct.index(interval) for interval in pair] for pair in wanted], dtype=np.intp)


_ORDER = _lowest()
_INTERVALS, _PLACES = _intervals()
_COSINES = np.stack([_cosines(interval, int(_ORDER.max()) + 1) for interval in _INTERVALS])
_ACROSS = np.ascontiguousarray(_COSINES[_PLACES[:, 0]].transpose(0, 2, 1))
_LOWEST, _LOWEST_TRANSPOSED = (_ORDER @ np.array(sides) for sides in ((_COSINES.shape[1], 1), (1, _COSINES.shape[1])))
# Of each of _TURNED: are coefficients exchanged, and which change their sign: the odd ones, in the direction reversed.
_TRANSPOSED = np.array([bool(turn & 4) for turn in range(1, 8)])[:, None]
_REVERSED = np.array(
    [[bool((turn & 1) * (u % 2) ^ (turn >> 1 & 1) * (v % 2)) for v, u in _ORDER.tolist()] for turn in range(1, 8)]
)
