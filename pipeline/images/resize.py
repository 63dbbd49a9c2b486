"""The one resize between a picture and the model's input: training and serving share it."""

import numpy as np
from PIL import Image


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Return `image` squeezed to uint8 (size, size, 3), bilinear with antialiasing.

    The aspect ratio is given up, as nsfw_model and nsfwjs do: nothing at the edge of a picture goes unseen.
    """
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
