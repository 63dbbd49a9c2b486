"""Select the frames of an animation (or pages of a file) that a model classifies, and the representative one.

Every frame is decoded once, in order, at a bounded cost: only then is it known what changes, and GIF, WEBP and APNG
cannot be decoded from the middle. The model classifies a few of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE = 16  # px of a thumbnail
_REGIONS = 4  # a thumbnail is compared by 4 x 4 regions
_SAME = 2.0  # grey levels: frames of which no region differs by more look the same
_BLANK = 3.0  # grey levels (standard deviation) below which a frame has nearly one colour only
_NO_DURATION = 100.0  # ms: how long browsers show a frame of duration 0
_DECODED_BYTES = 64 * 2**20  # of decoded frames; further ones are decoded again when they are chosen

Thumbnails = npt.NDArray[np.uint8]  # (n, 16, 16, 3)
ToRgb = Callable[[Image.Image], Image.Image]
Usable = Callable[[Image.Image], bool]
Load = Callable[[Image.Image], None]


@dataclass(frozen=True)
class Scan:
    """The result of one pass over all frames.

    Attributes:
        indices: of the frames that a viewer sees, as Pillow counts them.
        thumbnails: uint8 (n, 16, 16, 3), in their order.
        durations: ms each, above 0; all equal if the file has none.
        decoded: frames by index, not converted, as many as fit into memory.

    """

    indices: list[int]
    thumbnails: Thumbnails
    durations: npt.NDArray[np.float64]
    decoded: dict[int, Image.Image]

    @property
    def total(self) -> int:
        """How many frames a viewer sees."""
        return len(self.indices)

    def number(self, position: int) -> int:
        """Return a frame's number as a viewer counts, from 0: skipped pages count too."""
        return self.indices[position] - self.indices[0]


@dataclass
class _Collector:
    to_rgb: ToRgb
    indices: list[int] = field(default_factory=list)
    thumbnails: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    decoded: dict[int, Image.Image] = field(default_factory=dict)
    room: int = _DECODED_BYTES

    def add(self, index: int, image: Image.Image) -> None:
        self.indices.append(index)
        self.thumbnails.append(_thumbnail(image, self.to_rgb))
        duration = image.info.get("duration")
        self.durations.append(float(duration) if isinstance(duration, int | float) and duration > 0 else _NO_DURATION)
        size = image.width * image.height * len(image.getbands())
        if size <= self.room:
            self.room -= size
            self.decoded[index] = image.copy()

    def scan(self, first: int) -> Scan:
        return Scan(
            self.indices[first:], np.stack(self.thumbnails[first:]), np.array(self.durations[first:]), self.decoded
        )


def is_animated(image: Image.Image) -> bool:
    """Return whether a file that Pillow has opened, but not loaded, may show more than its first frame.

    The further pictures of an MPO (previews, depth) are shown by no viewer.
    """
    if image.format in {"JPEG", "MPO"}:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 -- damage after the first frame, which `scan` handles
        return True


def scan(image: Image.Image, load: Load, to_rgb: ToRgb, usable: Usable) -> Scan:
    """Decode every frame of an animation once, in order.

    A damaged frame ends the animation, as in a browser; the first one must not be damaged. A page that is not `usable`
    (a thumbnail in a TIFF, for example) is skipped, unless it is the first. The default image of an APNG is skipped if
    it is no frame of the animation: no browser shows it.

    Raises:
        Exception: whatever Pillow raises for the first frame; MemoryError for any; what `usable` raises.

    """
    collector = _Collector(to_rgb)
    for index in count():
        if not _step_succeeds(partial(image.seek, index), index):
            break
        if not usable(image) and index:
            continue
        if not _step_succeeds(partial(load, image), index):
            break
        collector.add(index, image)
    hidden = bool(getattr(image, "default_image", False)) and len(collector.indices) > 1
    return collector.scan(int(hidden))


def _step_succeeds(step: Callable[[], object], index: int) -> bool:
    """Run a step towards the frame `index`; return False if a frame after the first does not exist or is damaged.

    Raises:
        Exception: whatever the step raises for the first frame; MemoryError for any.

    """
    try:
        step()
    except (MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        if index == 0:
            raise
        return False
    return True


def take(image: Image.Image, scanned: Scan, positions: Sequence[int], load: Load) -> Iterator[Image.Image]:
    """Yield the frames at these positions of a scan (ascending), not converted."""
    for position in positions:
        index = scanned.indices[position]
        if index in scanned.decoded:
            yield scanned.decoded[index]
            continue
        image.seek(index)
        load(image)
        yield image


def choose(scanned: Scan, most: int) -> list[int]:
    """Return the positions, ascending, of at most `most` frames (1 or more) for a model to classify.

    These are the first and the last; one in each of `most / 2` equal parts of the time (so a frame that is shown for
    longer than such a part is chosen); then, repeatedly, the frame that differs most from all chosen ones. Frames that
    look the same are chosen once. With `most` 1: the representative one.
    """
    if most == 1:
        return [representative(scanned)]
    parts = max(1, most // 2)
    ends = np.cumsum(scanned.durations)
    moments = (np.arange(parts) + 0.5) / parts * ends[-1]
    regions = _regions(scanned.thumbnails)
    nearest = np.full(scanned.total, np.inf)  # each frame's distance to the chosen ones
    chosen: list[int] = []

    def select(position: int) -> None:
        chosen.append(position)
        np.minimum(nearest, _distances(regions, position), out=nearest)

    for position in (0, scanned.total - 1, *np.searchsorted(ends, moments, side="right").tolist()):
        if len(chosen) < most and nearest[position] > _SAME:
            select(position)
    while len(chosen) < most and nearest.max() > _SAME:
        select(int(nearest.argmax()))
    return sorted(chosen)


def representative(scanned: Scan) -> int:
    """Return the position of the representative frame: the one nearest to the average of all that are not blank.

    Frames are weighted by how long they are shown. If all are blank, all count.
    """
    shown = scanned.thumbnails.reshape(scanned.total, -1, 3).astype(np.float64)
    blank = shown.mean(axis=2).std(axis=1) < _BLANK
    candidates = np.flatnonzero(~blank) if not blank.all() else np.arange(scanned.total)
    average = np.average(shown[candidates], axis=0, weights=scanned.durations[candidates])
    distances = np.abs(shown[candidates] - average).mean(axis=(1, 2))
    return int(candidates[distances.round(6).argmin()])


def _thumbnail(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> npt.NDArray[np.uint8]:
    """Return uint8 (16, 16, 3): the means of 16 x 16 parts of a frame, over white."""
    # Shrunk before it is laid over white: conversion at full size would cost as much as decoding.
    direct = image.mode in {"RGB", "RGBA", "L", "LA"} and "transparency" not in image.info
    small = (image if direct else to_rgb(image)).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(to_rgb(small), dtype=np.uint8)


def _regions(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    """Return float32 (n, 4, 4, cells): a thumbnail's values by region."""
    side = _SIDE // _REGIONS
    split = thumbnails.reshape(-1, _REGIONS, side, _REGIONS, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(len(thumbnails), _REGIONS, _REGIONS, -1).astype(np.float32)


def _distances(regions: npt.NDArray[np.float32], position: int) -> npt.NDArray[np.float32]:
    """Return each frame's distance to the frame at `position`: that of the region that differs most, in grey levels."""
    distances: npt.NDArray[np.float32] = np.abs(regions - regions[position]).mean(axis=3).max(axis=(1, 2))
    return distances
