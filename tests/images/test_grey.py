import numpy as np
import pytest
from PIL import Image

from pipeline.images.grey import shrink_factor, small_grey


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1, 1), (1, 1)),
        ((511, 9), (511, 9)),
        ((512, 256), (256, 128)),
        ((1280, 720), (256, 144)),
        ((90, 6000), (4, 261)),
    ],
)
def test_the_longer_side_is_256_to_511_px(size, wanted):
    assert small_grey(Image.new("RGB", size)).size == wanted
    assert shrink_factor(*size) == max(1, max(size) // 256)


def test_blocks_are_averaged(rng):
    pixels = rng.integers(0, 256, (768, 768), dtype=np.uint8)
    mean = pixels.reshape(256, 3, 256, 3).mean(axis=(1, 3))
    assert np.abs(np.asarray(small_grey(Image.fromarray(pixels))) - mean).max() <= 0.6


def test_what_is_small_and_grey_is_taken_as_it_is():
    image = Image.new("L", (300, 200), 3)
    assert small_grey(image) is image
