"""The one resize between a picture and the model's input: training and serving share it."""

import numpy as np
from PIL import Image


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Return `image` resized to uint8 (size, size, 3), bilinear with antialiasing.

    The aspect ratio is not kept, as in nsfw_model and nsfwjs: so nothing at the edge of a picture is cut off.
    """
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
