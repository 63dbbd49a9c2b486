import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.distortions import DISTORTIONS, grey, grid, half, jpeg50, mirrored, screenshot
from tests.support.pictures import draw


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@given(st.sampled_from(sorted(DISTORTIONS)), st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
def test_any_picture_becomes_another_rgb_picture_and_always_the_same(name, width, height, seed):
    image = draw(np.random.default_rng(seed), (width, height))
    before = image.tobytes()
    first, second = DISTORTIONS[name](image), DISTORTIONS[name](image)
    assert first.mode == "RGB"
    assert min(first.size) >= 1
    assert first.tobytes() == second.tobytes()
    assert image.tobytes() == before


@pytest.fixture
def image(rng) -> Image.Image:
    return draw(rng, (120, 80))


def test_the_six_are_those_that_the_evidence_names():
    assert list(DISTORTIONS) == ["half", "jpeg50", "grey", "screenshot", "grid", "mirrored"]


def test_half_keeps_the_size_and_loses_detail(rng):
    noise = Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8))
    assert half(noise).size == noise.size
    assert pixels(half(noise)).std() < 0.7 * pixels(noise).std()


def test_jpeg50_is_near_but_not_equal(image):
    apart = np.abs(pixels(jpeg50(image)) - pixels(image))
    assert 0 < apart.mean() < 12


def test_grey_has_three_equal_channels(image):
    distorted = pixels(grey(image))
    assert (distorted[..., 0] == distorted[..., 1]).all()
    assert (distorted[..., 0] == distorted[..., 2]).all()


def test_a_screenshot_holds_the_whole_picture_under_a_dark_bar(image):
    distorted = screenshot(image)
    margin, bar = 120 // 25, 80 // 12
    box = (margin, bar + margin, margin + 120, bar + margin + 80)
    assert distorted.crop(box).tobytes() == image.tobytes()
    assert distorted.getpixel((distorted.width // 2, 0)) == (32, 33, 36)
    caption = pixels(distorted.crop((0, box[3], distorted.width, distorted.height)))
    assert caption.min() < 120 < 245 < caption.max()


def test_a_grid_is_four_times_the_same_tile(image):
    distorted = pixels(grid(image))
    assert (distorted[:40, :60] == distorted[-40:, -60:]).all()
    assert (distorted[:40, :60] == distorted[:40, -60:]).all()
    assert (distorted[40, :] == 255).all()


def test_mirrored_twice_is_the_picture(image):
    assert mirrored(mirrored(image)).tobytes() == image.tobytes()
    assert (pixels(mirrored(image)) == pixels(image)[:, ::-1]).all()
