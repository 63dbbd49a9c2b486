"""The one resize between a picture and the model's input: training and serving share it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

ResizeMode = Literal["squash", "crop", "pad"]


@dataclass(frozen=True)
class Resize:
    """How a picture of any shape becomes a square.

    Attributes:
        mode: `squash` changes the aspect ratio, as in nsfw_model and nsfwjs, so that nothing at the edge is cut off;
            `crop` resizes the shorter side and keeps the middle of the longer one; `pad` resizes the longer side and
            puts black beside the shorter one. Our own models squash; an imported one gets what it was trained with.
        side: the length (px) that `mode` resizes to, if the model sees the middle of a larger square only: 256 for 224,
            as torchvision's and Yahoo's do. None: the model's own size.

    """

    mode: ResizeMode = "squash"
    side: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: the mode is unknown, or the side is not positive.

        """
        if self.mode not in {"squash", "crop", "pad"}:
            raise ValueError(f"the resize is {self.mode!r}, not squash, crop or pad")
        if self.side is not None and self.side < 1:
            raise ValueError(f"the resize goes to {self.side} px")


SQUASH = Resize()


def to_square(image: Image.Image, size: int, resize: Resize = SQUASH) -> np.ndarray:
    """Return `image` resized to uint8 (size, size, 3), bilinear with antialiasing."""
    rgb = image.convert("RGB")
    width, height = rgb.size
    margin = size / max(size, resize.side or size)  # the share of the square that the model sees
    if resize.mode == "pad":
        return _padded(rgb, size, margin)
    across = width, height
    if resize.mode == "crop":
        across = min(across), min(across)
    if margin == 1.0 and across == (width, height):
        return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    # The part of the picture that the square shows, in its own pixels: what lies outside is never resized.
    half_x, half_y = across[0] * margin / 2, across[1] * margin / 2
    box = (width / 2 - half_x, height / 2 - half_y, width / 2 + half_x, height / 2 + half_y)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _padded(rgb: Image.Image, size: int, margin: float) -> np.ndarray:
    side = round(size / margin)
    scale = side / max(rgb.size)
    small = rgb.resize([max(1, round(length * scale)) for length in rgb.size], Image.Resampling.BILINEAR)
    square = Image.new("RGB", (side, side))
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    start = (side - size) // 2
    return np.asarray(square.crop((start, start, start + size, start + size)))
