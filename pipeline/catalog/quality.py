"""A quality score, by which the sharper and more detailed of two copies of a picture is selected."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.images.grey import small_grey

_SHARP = 100.0  # variance of the Laplacian at which a photograph of about 256 px looks neither blurred nor crisp
_RICH = 7.5  # bits; natural photographs reach 7 to 7.8


class Quality(NamedTuple):
    """Variance of the Laplacian (grey levels squared), entropy (bits, 0 to 8), and both as a score of 0 to 1."""

    sharpness: float
    entropy: float
    score: float


def quality(image: Image.Image) -> Quality:
    """Measure a picture (RGB or grey), reduced to 256 to 511 px.

    Blur as the variance of the Laplacian is Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000.
    """
    grey = small_grey(image)
    pixels = np.asarray(grey, dtype=np.int16)
    centre = pixels[1:-1, 1:-1]
    laplacian = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * centre
    sharpness = float(laplacian.var(dtype=np.float64)) if laplacian.size else 0.0
    entropy = float(grey.entropy())
    return Quality(sharpness, entropy, sharpness / (sharpness + _SHARP) * min(1.0, entropy / _RICH))
