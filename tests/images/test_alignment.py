import numpy as np
import pytest
from copies import COPIES, scene, thumbnail
from pictures import encode
from PIL import Image
from test_verification import PARAMS

from pipeline import compute
from pipeline.images import alignment
from pipeline.images.alignment import align, cell_correlations


@pytest.mark.parametrize("name", COPIES)
def test_thumbnails_of_a_copy_align_and_of_another_picture_do_not(name):
    one = thumbnail(encode(scene(1), "PNG"))[None]
    copy = thumbnail(COPIES[name](scene(1)))[None]
    other = thumbnail(COPIES[name](scene(2)))[None]
    for left, right in ((one, copy), (copy, one)):
        found = align(left, right, PARAMS.unlike)
        assert found.whole[0] > PARAMS.same
        assert found.local[0] > 0.8
    assert align(one, other, PARAMS.unlike).whole[0] < PARAMS.unlike


def test_flat_thumbnails_align_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    found = align(flat, thumbnail(encode(scene(1), "PNG"))[None], 0.75)
    assert found.whole[0] <= 0.0
    assert found.local[0] == 1.0


def test_many_pairs_are_aligned_by_several_processes_with_the_same_outcome(monkeypatch):
    thumbs = np.stack([thumbnail(encode(scene(number), "PNG")) for number in range(4)])
    left, right = thumbs[[0, 0, 1, 2]], thumbs[[1, 0, 3, 2]]
    one = align(left, right, 0.75)
    monkeypatch.setattr(alignment, "_CHUNK", 2)
    monkeypatch.setattr(compute, "cores", lambda: 2)
    again = align(left, right, 0.75)
    assert again.whole.tolist() == one.whole.tolist()
    assert again.local.tolist() == one.local.tolist()
    assert one.whole[1] == pytest.approx(1.0, abs=1e-3)
    assert align(left[:0], right[:0], 0.75).whole.tolist() == []


def test_what_changed_in_a_third_of_a_picture_shows_in_its_pieces():
    one = scene(1)
    changed = one.copy()
    changed.paste(scene(2).crop((0, 0, one.width, one.height // 3)), (0, 0))
    left, right = (thumbnail(encode(picture, "PNG"))[None] for picture in (one, changed))
    assert align(left, right, 0.0).local[0] < PARAMS.local


def test_pieces_that_are_plain_or_not_covered_are_left_out():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (64, 64)).astype(np.float32)
    other = one.copy()
    other[:8] = 9.0
    inside = np.ones((64, 64), dtype=np.bool_)
    inside[:, :16] = False
    found = cell_correlations(one, other, inside, 8, 6.0)
    assert len(found) == 7 * 6
    assert found.min() == pytest.approx(1.0)
    assert cell_correlations(one, 255 - one, ~inside, 8, 6.0).max() == pytest.approx(-1.0)


def test_pictures_of_any_shape_fall_into_pieces():
    one = np.asarray(Image.effect_noise((101, 67), 60), dtype=np.float32)
    assert len(cell_correlations(one, one, np.ones(one.shape, dtype=np.bool_), 8, 4.0)) == 64
