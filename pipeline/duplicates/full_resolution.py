"""Compare pairs of pictures at full resolution, in sandbox workers."""

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
from pipeline.duplicates.frame_boxes import frame_box, inner_box
from pipeline.images import sandbox, sandbox_chunks
from pipeline.images.decode import decode_small
from pipeline.images.grey import small_grey
from pipeline.images.limits import Limits

_SIDE = 320  # px: the longer side at which keypoints are detected

Pair = tuple[shards.Member, shards.Member]
Floats = npt.NDArray[np.float64]


class PairMeasures(NamedTuple):
    """Of each pair, float64 (n): the fields of `block_correlation.BlockCorrelation`, and how many `keypoints` agree.

    `keypoints` is 0 if the pieces agree, so that they were not counted, or if a block differs after alignment by them.
    """

    pieces: Floats
    edges: Floats
    side: Floats
    differing: Floats
    keypoints: Floats


@dataclass(frozen=True)
class PairInspector:
    """Compares pictures of the shards in `folder`; `limits` of the pictures, `cost` in a worker."""

    folder: Path
    limits: Limits
    cost: sandbox.WorkerLimits

    def inspect(self, pairs: Sequence[Pair], min_pieces: float, max_differing: float) -> PairMeasures:
        """Compare pairs piece by piece; count keypoints if the pieces correlate by less than `min_pieces`.

        `max_differing`: the share of positions with a differing block from which keypoints do not count. All measures
        are 0 if one picture of a pair no longer decodes.

        Raises:
            UserError: the machine had no time to compare a pair.

        """
        measure = partial(_measure_pair, self.folder.absolute(), self.limits, min_pieces, max_differing)
        outcomes = sandbox_chunks.run(measure, pairs, self.cost) if pairs else ()
        rows = [_row(one) for one in outcomes]
        return PairMeasures(*np.array(rows, dtype=np.float64).reshape(-1, _COLUMNS).T)


_COLUMNS = len(PairMeasures._fields)


def _row(outcome: tuple[float, ...] | sandbox.Failure) -> tuple[float, ...]:
    if not isinstance(outcome, sandbox.Failure):
        return outcome
    if outcome.code == "unavailable":  # else the machine's load would decide which pictures are copies
        raise UserError(f"two pictures could not be compared ({outcome}). Run `dvc repro` again on a quieter machine.")
    return (0.0,) * _COLUMNS


def _measure_pair(
    folder: Path, limits: Limits, min_pieces: float, max_differing: float, pair: Pair
) -> tuple[float, ...]:
    import cv2

    cv2.setNumThreads(1)  # there are as many workers as cores
    one, other = (small_grey(decode_small(shards.read(folder, member), limits).image) for member in pair)
    one, other = _best_views(_views(one), _views(other))
    blocks = block_correlation.compare(one, other)
    keypoint_count = 0 if blocks.pieces >= min_pieces else _count_keypoints(one, other, max_differing)
    return *map(float, blocks), float(keypoint_count)


def _views(grey: Image.Image) -> list[Image.Image]:
    """Return the picture, and the photograph that it shows within a screen, if there is one."""
    pixels = np.asarray(grey)
    box = frame_box(pixels)
    inner = inner_box(pixels, box)
    return [grey] if inner == box else [grey, grey.crop(inner)]


def _best_views(ones: Sequence[Image.Image], others: Sequence[Image.Image]) -> tuple[Image.Image, Image.Image]:
    """Return the most similar views of two pictures, the second one turned as the first is."""
    pairs = list(itertools.product(ones, others))
    left, right = (np.stack([block_correlation.thumbnail(pair[side]) for pair in pairs]) for side in (0, 1))
    turns, correlations = alignment.find_turns(left, right)
    best = int(correlations.argmax())
    (one, other), turn = pairs[best], int(turns[best])
    return one, Image.fromarray(np.ascontiguousarray(alignment.apply_turn(np.asarray(other), turn))) if turn else other


def _count_keypoints(one: Image.Image, other: Image.Image, max_differing: float) -> int:
    for grey in (one, other):
        grey.thumbnail((_SIDE, _SIDE))
    left, right = np.asarray(one), np.asarray(other)
    candidates = [
        (side, keypoints.find_agreement(left, side)) for side in (right, np.ascontiguousarray(right[:, ::-1]))
    ]
    side, agreement = max(candidates, key=lambda candidate: candidate[1].number)
    if agreement.warp is None or block_correlation.differing_share(left, side, agreement.warp) >= max_differing:
        return 0
    return agreement.number
