"""Pictures looked at in full, pair by pair, in sandbox workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images import closely, keypoints, sandbox, shards
from pipeline.images.decode import Limits, decode_small
from pipeline.images.grey import small_grey

_SIDE = 320  # px: where keypoints are looked for

Pair = tuple[shards.Member, shards.Member]
Floats = npt.NDArray[np.float64]


class Looked(NamedTuple):
    """Of each pair, float64 (n): `closely.Closeness`, and how many `keypoints` agree (0 where it was not asked)."""

    pieces: Floats
    edges: Floats
    side: Floats
    keypoints: Floats


@dataclass(frozen=True)
class Eyes:
    """Where pictures lie: their shards' folder; what decodes, and what it may cost."""

    folder: Path
    limits: Limits
    cost: sandbox.Limits

    def look(self, pairs: Sequence[Pair], enough: float) -> Looked:
        """Compare pairs piece by piece; count keypoints where that gives less than `enough`.

        All 0 where one of them no longer decodes.
        """
        looking = partial(_look, self.folder.absolute(), self.limits, enough)
        found = sandbox.run(looking, pairs, self.cost) if pairs else ()
        rows = [(0.0,) * 4 if isinstance(one, sandbox.Failure) else one for one in found]
        return Looked(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)


def _look(folder: Path, limits: Limits, enough: float, pair: Pair) -> tuple[float, float, float, float]:
    import cv2

    cv2.setNumThreads(1)  # the workers are as many as the cores
    one, other = (small_grey(decode_small(shards.read(folder, member), limits).image) for member in pair)
    found = closely.compare(one, other)
    counted = 0 if found.pieces >= enough else _keypoints(one, other)
    return found.pieces, found.edges, float(found.side), float(counted)


def _keypoints(one: Image.Image, other: Image.Image) -> int:
    for grey in (one, other):
        grey.thumbnail((_SIDE, _SIDE))
    left, right = np.asarray(one), np.asarray(other)
    return max(keypoints.agreeing(left, right), keypoints.agreeing(left, np.ascontiguousarray(right[:, ::-1])))
