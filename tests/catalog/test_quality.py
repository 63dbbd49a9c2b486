from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter

from pipeline.catalog.quality import quality
from tests.support.pictures import draw


@pytest.mark.parametrize("size", [(96, 64), (1024, 768)])
def test_blur_lowers_sharpness_and_score(rng, size):
    noisy = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
    scores = [quality(noisy.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4, 8)]
    assert all(later.sharpness < before.sharpness for before, later in pairwise(scores))
    assert all(later.score < before.score for before, later in pairwise(scores))


def test_a_plain_colour_is_worth_nothing():
    assert quality(Image.new("RGB", (64, 64), "teal")) == (0.0, 0.0, 0.0)


def test_reduced_copies_are_judged_at_about_one_scale(rng):
    """Otherwise the larger of two copies would always look blurred."""
    drawn = draw(rng, (512, 512))
    assert quality(drawn).sharpness == pytest.approx(quality(drawn.resize((256, 256))).sharpness, rel=0.5)


@settings(deadline=None, max_examples=50)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.uint8, (*size, 3))))
def test_every_picture_has_a_score_from_0_to_1(pixels):
    score = quality(Image.fromarray(pixels))
    assert 0.0 <= score.score <= 1.0
    assert 0.0 <= score.entropy <= 8.0
    assert np.isfinite(score.sharpness)
