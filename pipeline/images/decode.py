"""Decode bytes to an upright picture, or to the frames of an animation that a model classifies.

Call it on untrusted bytes inside `images.sandbox` workers only: a decoder may hang, crash or eat memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from PIL import Image

from pipeline.images import frames
from pipeline.images.colour import to_grey, to_rgb
from pipeline.images.grey import shrink_factor, small_grey
from pipeline.images.limits import Limits, Rejected
from pipeline.images.loading import (
    BYTES_PER_PIXEL,
    count_frames,
    jpeg_frame,
    libjpeg_bytes,
    load_pixels,
    open_guarded,
    read_header,
    require_memory,
)

Result = TypeVar("Result")

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FRAME_PIXELS = 50_000  # a small frame costs about as much as this many pixels
_SIDEWAYS = 5  # from this orientation on, width and height are exchanged


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `image` is upright, and the representative frame of an animation; the rest describes the file.

    `width` and `height` are those of the whole picture, upright, in px.
    """

    image: Image.Image
    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int


@dataclass(frozen=True)
class FrameResults(Generic[Result]):
    """The results of the selected frames, their numbers (from 0), and how many frames there are in all.

    `reduced`: whether it is a JPEG that was decoded at a smaller scale.
    """

    results: list[Result]
    numbers: list[int]
    total: int
    reduced: bool = False


def decode(data: bytes, limits: Limits | None = None, least: int = 0) -> Picture:
    """Decode `data` to an upright RGB picture.

    Transparency is laid over white, as a browser shows it; 16-bit grey keeps its upper 8 bits; of an animation the
    result is the frame that `frames.representative` selects. With `least`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of
    its size, as long as both sides have that many px: for callers that shrink it anyway, in a third of the time at
    1280 px.

    Raises:
        Rejected: code `empty`, `not_a_picture`, `unsupported_format`, `too_many_pixels`, `too_small`, `too_elongated`
            or `broken`.
        MemoryError: it needs more than this process may use.

    """
    return open_guarded(partial(_decode, least), data, limits)


def decode_small(data: bytes, limits: Limits | None = None) -> Picture:
    """Decode `data` to an upright grey picture (mode L) whose longer side is 256 to 511 px, or less if it was less.

    A JPEG decodes at 1/2, 1/4 or 1/8 of its size, without its colours. The same files are rejected as by `decode`: at
    any scale every byte of the scans is read.

    Raises:
        Rejected, MemoryError: as `decode` does.

    """
    return open_guarded(_decode_small, data, limits)


def decode_frames(
    data: bytes, function: Callable[[Image.Image], Result], limits: Limits | None = None, least: int = 0
) -> FrameResults[Result]:
    """Decode the picture, or at most `limits.max_frames` frames of an animation, and apply `function` to each.

    `function` gets one frame at a time, upright and in RGB, so only its results are in memory together.
    `frames.choose` selects the frames; `least` is as in `decode`.

    Raises:
        Rejected: as `decode` does.

    """
    return open_guarded(partial(_decode_frames, function, least), data, limits)


def _decode(least: int, image: Image.Image, limits: Limits) -> Picture:
    header, jpeg = read_header(image, limits), jpeg_frame(image)
    if least and jpeg is not None and jpeg.scalable:
        image.draft(None, (least, least))
    if frames.is_animated(image):
        shown, total = _representative(image, limits)
        orientation = read_orientation(image)
        upright = turn_upright(to_rgb(shown), orientation)
    else:
        load_pixels(image, jpeg)
        orientation = read_orientation(image)
        upright, total = _upright_rgb(image, orientation)
    return Picture(upright, header.format, header.mode, *upright.size, orientation, total)


def _upright_rgb(image: Image.Image, orientation: int) -> tuple[Image.Image, int]:
    """Return the upright picture, and the number of frames in its file; at most two pictures are in memory."""
    turned = turn_upright(image, orientation)
    if turned is image:
        return to_rgb(image), count_frames(image)
    total = count_frames(image)
    image.close()
    return to_rgb(turned), total


def _decode_small(image: Image.Image, limits: Limits) -> Picture:
    header, jpeg = read_header(image, limits), jpeg_frame(image)
    width, height = image.size
    factor = shrink_factor(width, height)
    drafted = jpeg is not None and jpeg.scalable
    if jpeg is not None and drafted:
        image.draft("L", (width // factor, height // factor))
        # Require the memory of a whole decode: else a picture would pass here, and fail where it is decoded whole.
        whole = BYTES_PER_PIXEL * width * height
        require_memory(whole + max(whole, libjpeg_bytes(image, jpeg)))
    shown, total = image, 0
    if frames.is_animated(image):
        shown, total = _representative(image, limits)
    else:
        load_pixels(image, jpeg)
    orientation = read_orientation(image)
    grey = to_grey(shown)
    if not drafted:  # Pillow turns a TIFF upright when it loads it
        width, height = grey.size
    if orientation >= _SIDEWAYS:
        width, height = height, width
    small = small_grey(turn_upright(grey, orientation))
    own = small.copy() if small is image and jpeg is None else small  # counting a GIF's frames loses its pixels
    return Picture(own, header.format, header.mode, width, height, orientation, total or count_frames(image))


def _representative(image: Image.Image, limits: Limits) -> tuple[Image.Image, int]:
    """Return the representative frame of an animation, loaded, and the number of frames."""
    scanned = scan_frames(image, limits)
    return next(frames.take(image, scanned, [frames.representative(scanned)], load_pixels)), scanned.total


def _decode_frames(
    function: Callable[[Image.Image], Result], least: int, image: Image.Image, limits: Limits
) -> FrameResults[Result]:
    if not frames.is_animated(image):
        whole = sorted(image.size)
        decoded = _decode(least, image, limits).image
        return FrameResults([function(decoded)], [0], 1, sorted(decoded.size) != whole)
    read_header(image, limits)
    scanned = scan_frames(image, limits)
    chosen = frames.choose(scanned, limits.max_frames)
    orientation = read_orientation(image)
    taken = frames.take(image, scanned, chosen, load_pixels)
    results = [function(turn_upright(to_rgb(frame), orientation)) for frame in taken]
    return FrameResults(results, [scanned.number(position) for position in chosen], scanned.total)


def scan_frames(image: Image.Image, limits: Limits) -> frames.Scan:
    """Decode all frames, up to a limit of their pixels together."""
    room = limits.max_frames * limits.max_pixels
    least = min(_FRAME_PIXELS, limits.max_pixels)

    def usable(frame: Image.Image) -> bool:
        nonlocal room
        width, height = frame.size
        room -= max(width * height, least)
        if room < 0:
            raise Rejected("too_many_frames", f"over {limits.max_frames * limits.max_pixels:,} pixels in all of them")
        if width * height > limits.max_pixels:
            raise Rejected("too_many_pixels", f"{width} x {height}, more than {limits.max_pixels:,} in all")
        return min(width, height) >= limits.min_side

    return frames.scan(image, load_pixels, to_rgb, usable)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of a picture whose pixels are loaded; 1 if it has no valid one."""
    try:
        tag = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 -- malformed EXIF does not make the pixels unusable
        return 1
    return tag if isinstance(tag, int) and tag in _UPRIGHT else 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return a picture turned upright, from its EXIF orientation."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
