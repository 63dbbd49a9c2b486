"""Convert any of Pillow's modes to RGB or grey, transparency over white, in bands: no further copy is in memory.

A picture may have 50 million pixels of 4 bytes: the memory limit of a worker leaves no room for copies.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageFile

_BAND = 2**20  # pixels

_ToRgb = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded picture in RGB: transparency over white, 16-bit grey by its upper 8 bits.

    32-bit grey and floats have no fixed scale: the picture's least value becomes black, its greatest white. The result
    is a copy, unless the picture is in RGB already and not an open file.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy() if isinstance(image, ImageFile.ImageFile) else image
    convert = _converter(image)
    return image.convert("RGB") if convert is None else _in_bands(image, "RGB", convert)


def to_grey(image: Image.Image) -> Image.Image:
    """Return a loaded picture in grey (mode L, ITU-R 601 luma of `to_rgb`); itself if it is in that mode already."""
    if image.has_transparency_data or image.mode not in {"L", "RGB"}:
        convert = _converter(image) or _to_plain_rgb
        return _in_bands(image, "L", lambda band: convert(band).convert("L"))
    return image if image.mode == "L" else image.convert("L")


def _converter(image: Image.Image) -> _ToRgb | None:
    """Return a function that converts a part of the picture to RGB; None if Pillow's own conversion is enough."""
    if image.mode.startswith("I;16"):
        return partial(_upper_bits, image.info.get("transparency"))
    if image.mode in {"I", "F"}:
        return _range_stretch(image)
    return _lay_over_white if image.has_transparency_data else None


def _in_bands(image: Image.Image, mode: str, convert: _ToRgb) -> Image.Image:
    rows = max(1, _BAND // max(1, image.width))
    if rows >= image.height:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        whole.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return whole


def _to_plain_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _lay_over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _upper_bits(transparent: object, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _range_stretch(image: Image.Image) -> _ToRgb:
    least, greatest = _range(image)
    scale = 255 / (greatest - least) if greatest > least else 0.0

    def stretch(part: Image.Image) -> Image.Image:
        values = (np.nan_to_num(np.asarray(part, np.float64), nan=least).clip(least, greatest) - least) * scale
        return Image.fromarray(values.round().astype(np.uint8)).convert("RGB")

    return stretch


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the least and the greatest finite number of a picture; floats may be infinite or NaN."""
    if image.mode == "I":
        least, greatest = image.getextrema()
        return float(least), float(greatest)  # type: ignore[arg-type]  # of one band
    rows = max(1, _BAND // max(1, image.width))
    low, high = np.inf, -np.inf
    for top in range(0, image.height, rows):
        part = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        finite = part[np.isfinite(part)]
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    return (float(low), float(high)) if low <= high else (0.0, 0.0)
