"""The article's random transforms: one affine warp a picture, then a channel shift.

Transforms are drawn for a whole batch in numpy; OpenCV warps. Ranges, order and edge fill are those of Keras'
ImageDataGenerator (rotation, shift, shear, zoom, horizontal flip, channel shift, fill `nearest`). A random crop, which
ImageDataGenerator does not have, comes first.
"""

import cv2
import numpy as np

from pipeline.params.augment import Augment

cv2.setNumThreads(0)  # several batches are warped in parallel already


def draw(rng: np.random.Generator, n: int, ranges: Augment, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n transforms of (size, size) pictures.

    Returns float32 (n, 8), the projective coefficients from output to input pixels in (x, y) order, and float32 (n,),
    the shifts of all channels on the scale 0..255; both as `apply` takes them.
    """
    theta = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation, n))
    right, down = rng.uniform(-ranges.shift, ranges.shift, (2, n)) * size
    shear = np.deg2rad(rng.uniform(-ranges.shear, ranges.shear, n))
    zoom = rng.uniform(1 - ranges.zoom, 1 + ranges.zoom, (2, n))
    flip = (rng.random(n) < 0.5) & ranges.flip
    channel = rng.uniform(-ranges.channel_shift, ranges.channel_shift, n)
    matrix = _compose(theta, right, down, shear, zoom, flip, size)
    if ranges.crop:  # drawn last, so that the other numbers are the same with a crop and without
        matrix = _crop(rng, n, ranges.crop, size) @ matrix
    return _coefficients(matrix), channel.astype(np.float32)


def _compose(
    theta: np.ndarray,
    right: np.ndarray,
    down: np.ndarray,
    shear: np.ndarray,
    zoom: np.ndarray,
    flip: np.ndarray,
    size: int,
) -> np.ndarray:
    """Return (n, 3, 3) matrices from output to input (x, y, 1): rotation @ shift @ shear @ zoom, about the centre."""
    zero, one = np.zeros_like(theta), np.ones_like(theta)
    cos, sin = np.cos(theta), np.sin(theta)
    rotate = _stack([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])
    shift = _stack([[one, zero, right], [zero, one, down], [zero, zero, one]])
    skew = _stack([[one, -np.sin(shear), zero], [zero, np.cos(shear), zero], [zero, zero, one]])
    scale = _stack([[zoom[0], zero, zero], [zero, zoom[1], zero], [zero, zero, one]])
    middle = np.full_like(theta, size / 2 - 0.5)
    centre = _stack([[one, zero, middle], [zero, one, middle], [zero, zero, one]])
    back = _stack([[one, zero, -middle], [zero, one, -middle], [zero, zero, one]])
    # The flip is the last step from input to output, so the first one from output to input: x -> size - 1 - x.
    mirror = np.where(flip, -1.0, 1.0)
    flipped = _stack([[mirror, zero, np.where(flip, size - 1.0, 0.0)], [zero, one, zero], [zero, zero, one]])
    matrix: np.ndarray = centre @ rotate @ shift @ skew @ scale @ back @ flipped
    return matrix


def _crop(rng: np.random.Generator, n: int, share: float, size: int) -> np.ndarray:
    """Draw (n, 3, 3) matrices from a crop, scaled to full size, to its picture.

    From output to input it is the last step. Each axis keeps a share drawn from U(1 - share, 1), at an even position
    along the side. A crop spans centres of pixels, so it never reaches beyond the picture. Where the other transforms
    reach beyond the crop, they show the rest of the picture.
    """
    side = rng.uniform(1 - share, 1, (2, n))
    offset = rng.uniform(0, 1, (2, n)) * (1 - side) * (size - 1)
    zero, one = np.zeros(n), np.ones(n)
    return _stack([[side[0], zero, offset[0]], [zero, side[1], offset[1]], [zero, zero, one]])


def _stack(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.moveaxis(np.array(rows), -1, 0)


def _coefficients(matrix: np.ndarray) -> np.ndarray:
    """Turn (n, 3, 3) matrices into TensorFlow's (n, 8): without the last element, which is 1."""
    return matrix.reshape(-1, 9)[:, :8].astype(np.float32)


def apply(pictures: np.ndarray, coefficients: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Warp a batch (n, size, size, 3) of 0..255 pictures by n draws; float32, each clipped to its own range.

    The warp is bilinear, and exact to 0.01 with OpenCV 5 (earlier versions round positions to 1/32 px).
    """
    warped = np.empty(pictures.shape, np.float32)
    size = (pictures.shape[2], pictures.shape[1])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for picture, matrix, shift, out in zip(pictures, coefficients, channel, warped, strict=True):
        affine = np.asarray(matrix[:6], np.float64).reshape(2, 3)
        cv2.warpAffine(
            np.asarray(picture, np.float32),
            affine,
            size,
            dst=out,
            flags=how,
            borderMode=cv2.BORDER_REPLICATE,
            hint=cv2.ALGO_HINT_ACCURATE,
        )
        low, high = out.min(), out.max()
        np.clip(out + shift, low, high, out=out)
    return warped
