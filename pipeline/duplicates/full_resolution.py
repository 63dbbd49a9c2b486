"""Pictures looked at in full, pair by pair, in sandbox workers."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data import shards
from pipeline.duplicates import alignment, block_correlation, keypoints
from pipeline.duplicates.fingerprint import frame_box, inner_box
from pipeline.images import sandbox
from pipeline.images.decode import decode_small
from pipeline.images.grey import small_grey
from pipeline.images.limits import Limits

_SIDE = 320  # px: where keypoints are looked for

Pair = tuple[shards.Member, shards.Member]
Floats = npt.NDArray[np.float64]


class Looked(NamedTuple):
    """Of each pair, float64 (n): `closely.Closeness`, and how many `keypoints` agree.

    `keypoints` are 0 where it was not asked, or where a block differs once they lie on one another.
    """

    pieces: Floats
    edges: Floats
    side: Floats
    differing: Floats
    keypoints: Floats


@dataclass(frozen=True)
class Eyes:
    """Where pictures lie: their shards' folder; what decodes, and what it may cost."""

    folder: Path
    limits: Limits
    cost: sandbox.Limits

    def look(self, pairs: Sequence[Pair], enough: float, block: float) -> Looked:
        """Compare pairs piece by piece; count keypoints where that gives less than `enough`.

        `block`: the share of places with a differing block from which on keypoints say nothing. All 0 where one of a
        pair no longer decodes.

        Raises:
            UserError: the machine left no time to compare a pair.

        """
        looking = partial(_look, self.folder.absolute(), self.limits, enough, block)
        found = sandbox.run(looking, pairs, self.cost) if pairs else ()
        rows = [_row(one) for one in found]
        return Looked(*np.array(rows, dtype=np.float64).reshape(-1, _COLUMNS).T)


_COLUMNS = len(Looked._fields)


def _row(outcome: tuple[float, ...] | sandbox.Failure) -> tuple[float, ...]:
    if not isinstance(outcome, sandbox.Failure):
        return outcome
    if outcome.code == "unavailable":  # else the load of a machine would decide which pictures are copies
        raise UserError(f"two pictures could not be compared ({outcome}). Run `dvc repro` again on a quieter machine.")
    return (0.0,) * _COLUMNS


def _look(folder: Path, limits: Limits, enough: float, block: float, pair: Pair) -> tuple[float, ...]:
    import cv2

    cv2.setNumThreads(1)  # the workers are as many as the cores
    one, other = (small_grey(decode_small(shards.read(folder, member), limits).image) for member in pair)
    one, other = _likest(_cuts(one), _cuts(other))
    found = block_correlation.compare(one, other)
    counted = 0 if found.pieces >= enough else _keypoints(one, other, block)
    return *map(float, found), float(counted)


def _cuts(grey: Image.Image) -> list[Image.Image]:
    """Return a picture, and the photograph that it shows within a screen, if it does."""
    pixels = np.asarray(grey)
    box = frame_box(pixels)
    inner = inner_box(pixels, box)
    return [grey] if inner == box else [grey, grey.crop(inner)]


def _likest(ones: Sequence[Image.Image], others: Sequence[Image.Image]) -> tuple[Image.Image, Image.Image]:
    """Return the two cuts of two pictures that are most alike, the other turned as the first is."""
    pairs = list(itertools.product(ones, others))
    left, right = (np.stack([block_correlation.thumbnail(pair[side]) for pair in pairs]) for side in (0, 1))
    turns, likeness = alignment.turning(left, right)
    best = int(likeness.argmax())
    (one, other), turn = pairs[best], int(turns[best])
    return one, Image.fromarray(np.ascontiguousarray(alignment.turned(np.asarray(other), turn))) if turn else other


def _keypoints(one: Image.Image, other: Image.Image, block: float) -> int:
    for grey in (one, other):
        grey.thumbnail((_SIDE, _SIDE))
    left, right = np.asarray(one), np.asarray(other)
    ways = [(side, keypoints.agreeing(left, side)) for side in (right, np.ascontiguousarray(right[:, ::-1]))]
    side, agreeing = max(ways, key=lambda way: way[1].number)
    if agreeing.warp is None or block_correlation.blocks(left, side, agreeing.warp) >= block:
        return 0
    return agreeing.number
