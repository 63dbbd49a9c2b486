"""Any of Pillow's modes to RGB or grey, transparency over white, in bands: beside the picture only the result is held.

A picture's most pixels are 50 million, of 4 bytes: there is no room for copies in what a worker may use.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageFile

_BAND = 2**20  # pixels

_ToRgb = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded picture in RGB: transparency over white, 16-bit grey by its upper 8 bits.

    Grey of 32 bits and floats have no scale of their own: what the picture holds, from its least to its greatest, is
    black to white. A copy, except of what is RGB already and no file.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy() if isinstance(image, ImageFile.ImageFile) else image
    convert = _converter(image)
    return image.convert("RGB") if convert is None else _in_bands(image, "RGB", convert)


def to_grey(image: Image.Image) -> Image.Image:
    """Return a loaded picture in grey (mode L, ITU-R 601 luma of `to_rgb`); the same where it is that already."""
    if image.has_transparency_data or image.mode not in {"L", "RGB"}:
        convert = _converter(image) or _plainly
        return _in_bands(image, "L", lambda band: convert(band).convert("L"))
    return image if image.mode == "L" else image.convert("L")


def _converter(image: Image.Image) -> _ToRgb | None:
    """Return what brings a part of the picture to RGB; None where Pillow's own conversion does, in one go."""
    if image.mode.startswith("I;16"):
        return partial(_upper_bits, image.info.get("transparency"))
    if image.mode in {"I", "F"}:
        return _stretching(image)
    return _over_white if image.has_transparency_data else None


def _in_bands(image: Image.Image, mode: str, convert: _ToRgb) -> Image.Image:
    rows = max(1, _BAND // max(1, image.width))
    if rows >= image.height:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        whole.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return whole


def _plainly(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _upper_bits(transparent: object, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _stretching(image: Image.Image) -> _ToRgb:
    least, greatest = _range(image)
    scale = 255 / (greatest - least) if greatest > least else 0.0

    def stretch(part: Image.Image) -> Image.Image:
        values = (np.nan_to_num(np.asarray(part, np.float64), nan=least).clip(least, greatest) - least) * scale
        return Image.fromarray(values.round().astype(np.uint8)).convert("RGB")

    return stretch


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the least and the greatest number of a picture; a float one may hold infinities, and what is no number."""
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
