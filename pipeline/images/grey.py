"""A small grey picture: what quality and fingerprints are measured on."""

from PIL import Image

SMALL = 256  # px


def shrinking(width: int, height: int) -> int:
    """Return the whole factor that brings the longer side near SMALL, never under it: to 256 ... 511 px."""
    return max(1, max(width, height) // SMALL)


def small_grey(image: Image.Image) -> Image.Image:
    """Return an RGB or grey picture in grey (ITU-R 601 luma), its longer side at most 511 px, by averaging blocks."""
    grey = image if image.mode == "L" else image.convert("L")
    factor = shrinking(*grey.size)
    return grey.reduce(factor) if factor > 1 else grey
