"""Six distortions that pictures undergo when they are shared; each gives the same result for the same picture.

Every function takes an upright RGB picture and returns another; none is random or needs a font.
"""

import io
from collections.abc import Callable

from PIL import Image, ImageDraw

from pipeline.images.decode import decode
from pipeline.images.limits import Limits

_NO_LIMITS = Limits(max_pixels=2**31, min_side=1, max_aspect=float("inf"))  # for our own bytes


def half(image: Image.Image) -> Image.Image:
    """Return the picture at half its width and height, and enlarged back to its size."""
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def jpeg50(image: Image.Image) -> Image.Image:
    """Return the picture after JPEG at quality 50, colour at half resolution."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50, subsampling=2)
    return decode(buffer.getvalue(), _NO_LIMITS).image


def grey(image: Image.Image) -> Image.Image:
    """Return the picture without colour."""
    return image.convert("L").convert("RGB")


def screenshot(image: Image.Image) -> Image.Image:
    """Return the picture as a telephone shows it: a dark status bar, margins, and a caption of grey words below."""
    width, height = image.size
    margin, bar, caption = max(2, width // 25), max(4, height // 12), max(8, height // 6)
    page = Image.new("RGB", (width + 2 * margin, bar + margin + height + caption), (250, 250, 250))
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, page.width, bar - 1), fill=(32, 33, 36))
    for position in (0.06, 0.86, 0.92):  # a clock, a signal, a battery
        left = int(position * page.width)
        pen.rectangle((left, bar // 3, left + max(1, page.width // 30), 2 * bar // 3), fill=(210, 210, 210))
    page.paste(image, (margin, bar + margin))
    line = max(2, caption // 6)
    for row, words in enumerate(((14, 9, 21, 12, 16), (10, 18, 7, 15))):
        left, top = margin, bar + margin + height + line + row * 2 * line
        for word in words:
            right = left + word * width // 100
            pen.rectangle((left, top, right, top + line - 1), fill=(96, 100, 106))
            left = right + max(1, width // 40)
    return page


def grid(image: Image.Image) -> Image.Image:
    """Return four half-size copies of the picture, two by two, with a thin white gap, at about its size."""
    width, height = max(1, image.width // 2), max(1, image.height // 2)
    gap = max(1, min(width, height) // 40)
    tile = image.resize((width, height), Image.Resampling.BILINEAR)
    page = Image.new("RGB", (2 * width + gap, 2 * height + gap), "white")
    for left in (0, width + gap):
        for top in (0, height + gap):
            page.paste(tile, (left, top))
    return page


def mirrored(image: Image.Image) -> Image.Image:
    """Return the picture with left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


DISTORTIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    distortion.__name__: distortion for distortion in (half, jpeg50, grey, screenshot, grid, mirrored)
}
