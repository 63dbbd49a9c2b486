"""The small grey picture on which quality and fingerprints are measured."""

from PIL import Image

SMALL = 256  # px


def shrink_factor(width: int, height: int) -> int:
    """Return the integer factor that shrinks the longer side to 256 to 511 px; 1 if it is shorter already."""
    return max(1, max(width, height) // SMALL)


def small_grey(image: Image.Image) -> Image.Image:
    """Return an RGB or grey picture in grey (ITU-R 601 luma), its longer side at most 511 px, by averaging blocks."""
    grey = image if image.mode == "L" else image.convert("L")
    factor = shrink_factor(*grey.size)
    return grey.reduce(factor) if factor > 1 else grey
