"""Plain frames around a picture, and photographs within a screen or a page: found as runs of plain rows and columns."""

import numpy as np
import numpy.typing as npt

# A frame consists of rows whose pixels, except for a few (noise, ringing), are near the outermost row's median grey.
_TOLERANCE = 12  # grey levels
_MAX_OUTLIERS = 0.03  # share of a row's pixels
_FIRST_ROWS = 8  # tested before all others: most frames have few rows
_MAX_FRAME = 0.45  # share of a side's length that may be frame, at each end
_MIN_LEFT = 0.2  # share of width and height that must be left; else it is a flat picture rather than a frame
# A photograph within a screen lies between plain rows or columns; further rows outside them may hold text.
_MIN_INNER = 0.15  # share of the picture that the photograph must cover
_MAX_INNER = 0.8  # share of the trimmed picture that it may cover; with more, only an edge was cut off
_PASSES = 4  # rows, columns, rows, columns
_SAMPLES = 16  # pixels of a row: enough to see that it is not plain
_MIN_PLAIN = 0.03  # share of the rows that must be plain; else none of them is a cut

Box = tuple[int, int, int, int]  # left, top, right, bottom (px)
Pixels = npt.NDArray[np.uint8]  # grey, (height, width)


def inner_box(grey: Pixels, box: Box) -> Box:
    """Return left, top, right, bottom (px) of the photograph that a screen or page shows; `box` if it shows none.

    `box` is the result of `frame_box`. Plain rows and columns are cuts. The tallest part between cuts is kept, then
    the widest part of that, and so on until nothing is cut off. A status bar with its clock, or a caption, is thinner
    than the photograph, so it falls away.
    """
    left, top, right, bottom = box
    # Rows in even passes, columns in odd ones; each pass looks only at what the one before left.
    for number in range(_PASSES):
        part = grey[top:bottom, left:right]
        if number % 2 == 0:
            begin, end = _longest_run(part)
            top, bottom = top + begin, top + end
        else:
            begin, end = _longest_run(part.T)
            left, right = left + begin, left + end
        if number and end - begin == part.shape[number % 2]:
            break
    area = (right - left) * (bottom - top)
    shown = _MIN_INNER * grey.size <= area <= _MAX_INNER * (box[2] - box[0]) * (box[3] - box[1])
    return (left, top, right, bottom) if shown else box


def _longest_run(rows: Pixels) -> tuple[int, int]:
    """Return the first row and the end of the longest run of rows that are not plain; all, if none or all are plain."""
    # A few samples exclude most rows cheaply: within a plain row they differ by twice the tolerance at most.
    step = max(1, rows.shape[1] // _SAMPLES)
    some = np.ascontiguousarray(rows[:, step // 2 :: step].T)
    perhaps = np.flatnonzero(some.max(axis=0) - some.min(axis=0) <= 2 * _TOLERANCE)
    if len(perhaps) < _MIN_PLAIN * len(rows):
        return 0, len(rows)
    # The exact test on the rest: all pixels, except for a few, are near the row's own median.
    level = np.sort(rows[perhaps], axis=1)[:, rows.shape[1] // 2, None].astype(np.int16)
    apart = np.abs(rows[perhaps].astype(np.int16) - level) > _TOLERANCE
    cuts = perhaps[apart.sum(axis=1) <= _MAX_OUTLIERS * rows.shape[1]]
    # The plain rows are cuts; the longest gap between two of them (or the ends) is the run.
    edges = [-1, *cuts.tolist(), len(rows)]
    longest = max(range(len(cuts) + 1), key=lambda gap: edges[gap + 1] - edges[gap])
    begin, end = edges[longest] + 1, edges[longest + 1]
    return (begin, end) if end > begin else (0, len(rows))


def frame_box(grey: Pixels) -> Box:
    """Return left, top, right, bottom (px) of the picture within a plain frame, or bars, of any grey level."""
    height, width = grey.shape
    top, bottom = _frame_ends(grey)
    left, right = _frame_ends(grey[top : height - bottom].T)
    return left, top, width - right, height - bottom


def _frame_ends(rows: Pixels) -> tuple[int, int]:
    """Return the number of frame rows at the beginning and at the end."""
    first, last = _frame_rows(rows), _frame_rows(rows[::-1])
    return (first, last) if len(rows) - first - last >= _MIN_LEFT * len(rows) else (0, 0)


def _frame_rows(rows: Pixels) -> int:
    """Return how many rows, counted from the first, look like the first one; 0 if that is not plain."""
    level = int(np.sort(rows[0])[rows.shape[1] // 2])
    if not _are_plain(rows[:1], level)[0]:
        return 0
    most = int(_MAX_FRAME * len(rows))
    for count in (min(_FIRST_ROWS, most), most):
        plain = _are_plain(rows[:count], level)
        if not plain.all():
            return int(plain.argmin())
    return most


def _are_plain(rows: Pixels, level: int) -> npt.NDArray[np.bool_]:
    """Return for each row whether all its pixels, except for a few, are near `level`."""
    apart = (rows < level - _TOLERANCE) | (rows > level + _TOLERANCE)
    return np.asarray(apart.sum(axis=1) <= _MAX_OUTLIERS * rows.shape[1])
