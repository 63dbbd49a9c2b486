import numpy as np
import pytest
from copies import COPIES, scene, thumbnail
from pictures import encode
from test_verification import PARAMS

from pipeline import compute
from pipeline.images import alignment
from pipeline.images.alignment import align, mirrored, overlay, prepare
from pipeline.images.verification import compare


@pytest.mark.parametrize("name", COPIES)
def test_thumbnails_of_a_copy_align_and_of_another_picture_do_not(name):
    one = thumbnail(encode(scene(1), "PNG"))[None]
    copy = thumbnail(COPIES[name](scene(1)))[None]
    other = thumbnail(COPIES[name](scene(2)))[None]
    for left, right in ((one, copy), (copy, one)):
        assert align(left, right, compare(left, right), PARAMS.unlike, PARAMS.same)[0] > PARAMS.same
    assert align(one, other, compare(one, other), PARAMS.unlike, PARAMS.same)[0] < PARAMS.unlike


def test_flat_thumbnails_align_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert align(flat, thumbnail(encode(scene(1), "PNG"))[None], np.zeros(1), 0.75, 0.96)[0] <= 0.0


def test_many_pairs_are_aligned_by_several_processes_with_the_same_outcome(monkeypatch):
    thumbs = np.stack([thumbnail(encode(scene(number), "PNG")) for number in range(4)])
    left, right = thumbs[[0, 0, 1, 2]], thumbs[[1, 0, 3, 2]]
    one = align(left, right, np.zeros(4), 0.75, 0.96)
    monkeypatch.setattr(alignment, "_CHUNK", 2)
    monkeypatch.setattr(compute, "cores", lambda: 2)
    assert align(left, right, np.zeros(4), 0.75, 0.96).tolist() == one.tolist()
    assert one[1] == pytest.approx(1.0, abs=1e-3)
    assert align(left[:0], right[:0], np.zeros(0), 0.75, 0.96).tolist() == []


def test_a_map_leads_from_the_template_to_the_picture():
    whole = prepare(thumbnail(encode(scene(1), "PNG")), 1.0)
    found, warp = overlay(whole[:48, :48], whole[4:52, 6:54])
    assert found > 0.99
    assert warp[:, 2] == pytest.approx([-6, -4], abs=0.2)
    assert warp[:, :2] == pytest.approx(np.eye(2), abs=0.02)


def test_a_mirror_image_is_noticed():
    one = prepare(thumbnail(encode(scene(1), "PNG")), 1.0)
    assert mirrored(one, np.ascontiguousarray(one[:, ::-1]))
    assert not mirrored(one, one)
