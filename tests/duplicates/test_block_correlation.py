import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.duplicates.block_correlation import BlockCorrelation, compare, correlations
from pipeline.images.decode import decode_small
from tests.support.copies import COPIES, scene
from tests.support.dedupe_params import LIMITS
from tests.support.pictures import encode


def grey(data):
    return decode_small(data).image


def cluttered(seed, moved=0, size=(420, 340)):
    """Rectangles before a background; in another shot every second one is displaced by `moved` px."""
    rng, shot = np.random.default_rng(seed), scene(seed, size)
    for number in range(150):
        x, y, width, height = (int(value) for value in rng.integers([20, 20, 8, 8], [350, 270, 50, 50]))
        fill, by = tuple(rng.integers(0, 256, 3).tolist()), moved if number % 2 else 0
        ImageDraw.Draw(shot).rectangle((x + by, y - by, x + width + by, y + height - by), fill=fill)
    return shot


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_agrees_piece_by_piece_and_another_picture_does_not(name):
    one, copy = grey(encode(cluttered(1), "PNG")), grey(COPIES[name](cluttered(1)))
    assert compare(one, copy).pieces > LIMITS.block_correlation
    assert compare(copy, one).pieces > LIMITS.block_correlation
    assert compare(one, grey(COPIES[name](cluttered(2)))).pieces < 0.5


def test_another_shot_of_a_scene_agrees_less_than_a_copy():
    one, other = (grey(encode(cluttered(3, moved), "PNG")) for moved in (0, 7))
    copy = grey(encode(cluttered(3), "JPEG", quality=60))
    assert compare(one, other).edges < LIMITS.edge_correlation < compare(one, copy).edges
    assert compare(one, other).side >= LIMITS.edge_check_side


def test_a_watermark_spoils_few_pieces():
    marked = cluttered(4)
    ImageDraw.Draw(marked).rectangle((0, 0, 140, 110), fill=(255, 255, 255))
    assert compare(grey(encode(cluttered(4), "PNG")), grey(encode(marked, "PNG"))).pieces > LIMITS.block_correlation


def test_what_does_not_align_agrees_nowhere():
    flat = Image.new("L", (300, 300), 90)
    assert compare(flat, grey(encode(cluttered(5), "PNG"))) == BlockCorrelation(0.0, 0.0, 224, 0.0)
    assert compare(flat, flat).pieces == 0.0


def test_small_pictures_are_compared_at_their_size():
    small = encode(cluttered(6).resize((100, 90)), "PNG")
    assert compare(grey(small), grey(encode(cluttered(6), "PNG"))).side == 90
    tiny = Image.open(io.BytesIO(small)).resize((32, 32)).convert("L")
    assert compare(tiny, tiny).side == 64


def test_pieces_that_are_plain_or_not_covered_are_left_out():
    one = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.float32)
    other = one.copy()
    other[:8] = 9.0
    inside = np.ones((64, 64), dtype=np.bool_)
    inside[:, :16] = False
    coefficients = correlations(one, other, inside, 8, 6.0)
    assert len(coefficients) == 7 * 6
    assert coefficients.min() == pytest.approx(1.0)
    assert correlations(one, 255 - one, ~inside, 8, 6.0).max() == pytest.approx(-1.0)
