"""Bytes to an upright picture: the only place that opens one.

Call it on untrusted bytes inside `images.sandbox` workers only: a decoder may hang, crash or eat memory.
"""

import io
import mmap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.images.grey import shrinking, small_grey

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "MPO")
_OPENERS = tuple(name for name in FORMATS if name != "MPO")  # Pillow's JPEG opener tells MPO apart by itself

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
_BYTES_A_PIXEL = 4  # of RGB, as Pillow holds it
_SIDEWAYS = 5  # from this orientation on, width and height change places


class Rejected(Exception):  # noqa: N818 -- an outcome that every caller handles, not a defect
    """A file that cannot be used: a stable `code` for counting, a `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What a usable picture may be: pixels in all, px of its shorter side, longer side to shorter."""

    max_pixels: int = 50_000_000
    min_side: int = 32
    max_aspect: float = 10.0


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `image` is upright, its first frame; the rest tells what the file was.

    `width` and `height` are those of the whole picture, upright, in px.
    """

    image: Image.Image
    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int


def decode(data: bytes, limits: Limits | None = None, least: int = 0) -> Picture:
    """Decode `data` (JPEG, PNG, WEBP, GIF, BMP or MPO) to an upright RGB picture.

    Transparency is laid over white, as a browser shows it; 16-bit grey keeps its upper 8 bits; of an animation the
    first frame counts. With `least`, a JPEG may come at 1/2, 1/4 or 1/8 of its size, as long as both sides keep so many
    px: for who shrinks it anyway, and a third of the time at 1280 px.

    Raises:
        Rejected: code `empty`, `not_a_picture`, `too_many_pixels`, `too_small`, `too_elongated` or `broken`.

    """
    return _guarded(partial(_decode, least), data, limits)


def decode_small(data: bytes, limits: Limits | None = None) -> Picture:
    """Decode `data` to an upright grey picture (mode L) whose longer side is 256 to 511 px, or less if it was less.

    A JPEG decodes at 1/2, 1/4 or 1/8 of its size, without its colours. The same files are rejected as by `decode`: at
    any scale every byte of the scans is read (10,000 damaged JPEGs had the same verdict both ways).

    Raises:
        Rejected: as `decode` does.

    """
    return _guarded(_decode_small, data, limits)


def _guarded(way: Callable[[bytes, Limits], Picture], data: bytes, limits: Limits | None) -> Picture:
    if not data:
        raise Rejected("empty", "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: the check below is stricter
            return way(data, limits or Limits())
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Rejected("not_a_picture", f"none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise Rejected("too_many_pixels", _one_line(error)) from None
    except Exception as error:  # noqa: BLE001 -- hostile files raise anything: struct.error, IndexError, SyntaxError...
        raise Rejected("broken", _one_line(error)) from None


def _decode(least: int, data: bytes, limits: Limits) -> Picture:
    with Image.open(io.BytesIO(data), formats=_OPENERS) as image:
        about = _about(image, limits)
        if least:
            image.draft(None, (least, least))  # only a JPEG can
        _load(image)
        upright = _turned(_rgb(image), about.orientation)
        return Picture(upright, about.format, about.mode, *upright.size, about.orientation, about.frames)


def _decode_small(data: bytes, limits: Limits) -> Picture:
    with Image.open(io.BytesIO(data), formats=_OPENERS) as image:
        about = _about(image, limits)
        width, height = image.size
        factor = shrinking(width, height)
        drafted = image.draft("L", (width // factor, height // factor)) is not None  # only a JPEG can
        if (
            drafted
        ):  # one that fits at this scale alone would pass, and fail when it is decoded whole and turned upright
            _make_room(2 * _BYTES_A_PIXEL * width * height)
        _load(image)
        whole = image if image.mode == "L" and not image.has_transparency_data else _rgb(image)
        if not drafted:
            width, height = whole.size
        if about.orientation >= _SIDEWAYS:
            width, height = height, width
        small = small_grey(_turned(whole, about.orientation))
        return Picture(small, about.format, about.mode, width, height, about.orientation, about.frames)


def _load(image: Image.Image) -> None:
    if image.format == "WEBP":  # libwebp holds two canvases beside the result, and calls what does not fit broken
        _make_room(3 * _BYTES_A_PIXEL * image.width * image.height)
    image.load()


def _make_room(size: int) -> None:
    """Raise MemoryError where this process may not take `size` bytes more; touch no memory."""
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        raise MemoryError from None


class _About(NamedTuple):
    """What a header tells of a picture."""

    format: str
    mode: str
    orientation: int
    frames: int


def _about(image: Image.Image, limits: Limits) -> _About:
    _check_size(*image.size, limits)
    mode, frames = image.mode, int(getattr(image, "n_frames", 1))
    return _About(str(image.format), mode, _orientation(image), frames)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise Rejected("too_many_pixels", f"{width} x {height}, more than {limits.max_pixels:,} in all")
    if min(width, height) < limits.min_side:
        raise Rejected("too_small", f"{width} x {height}, a side under {limits.min_side} px")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise Rejected("too_elongated", f"{width} x {height}, over {limits.max_aspect:g} to 1")


def _orientation(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 -- malformed EXIF does not spoil sound pixels
        return 1
    return tag if isinstance(tag, int) and tag in _UPRIGHT else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray(
            (wide >> 8 if wide.max(initial=0) > 255 else wide).clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
