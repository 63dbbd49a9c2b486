import numpy as np
import pytest

from pipeline.core import executor
from pipeline.duplicates import alignment
from pipeline.duplicates.alignment import (
    align,
    apply_turn,
    differing_unaligned,
    find_turns,
    fit_affine,
    is_mirrored,
    prepare,
)
from tests.support.copies import COPIES, app, scene, thumbnail
from tests.support.dedupe_params import LIMITS, PARAMS
from tests.support.pictures import encode


@pytest.mark.parametrize("name", COPIES)
def test_thumbnails_of_a_copy_align_and_of_another_picture_do_not(name):
    one = thumbnail(encode(scene(1), "PNG"))[None]
    copy = thumbnail(COPIES[name](scene(1)))[None]
    other = thumbnail(COPIES[name](scene(2)))[None]
    for left, right in ((one, copy), (copy, one)):
        assert (
            align(left, right, LIMITS.reject_correlation, PARAMS.match_correlation, 0.0).correlation[0]
            > PARAMS.match_correlation
        )
    assert (
        align(one, other, LIMITS.reject_correlation, PARAMS.match_correlation, 0.0).correlation[0]
        < LIMITS.reject_correlation
    )


def test_flat_thumbnails_align_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert align(flat, thumbnail(encode(scene(1), "PNG"))[None], 0.75, 0.96, 0.0).correlation[0] <= 0.0


def test_many_pairs_are_aligned_by_several_processes_with_the_same_outcome(monkeypatch):
    thumbs = np.stack([thumbnail(encode(scene(number), "PNG")) for number in range(4)])
    left, right = thumbs[[0, 0, 1, 2]], thumbs[[1, 0, 3, 2]]
    one = align(left, right, 0.75, 0.96, 0.0)
    monkeypatch.setattr(alignment, "_CHUNK", 2)
    monkeypatch.setattr(executor, "cores", lambda: 2)
    assert np.array_equal(align(left, right, 0.75, 0.96, 0.0), one)
    assert one.correlation[1] == pytest.approx(1.0, abs=1e-3)
    assert align(left[:0], right[:0], 0.75, 0.96, 0.0).correlation.tolist() == []


def test_a_map_leads_from_the_template_to_the_picture():
    whole = prepare(thumbnail(encode(scene(1), "PNG")), 1.0)
    correlation, warp = fit_affine(whole[:48, :48], whole[4:52, 6:54])
    assert correlation > 0.99
    assert warp[:, 2] == pytest.approx([-6, -4], abs=0.2)
    assert warp[:, :2] == pytest.approx(np.eye(2), abs=0.02)


def test_a_mirror_image_is_noticed():
    one = prepare(thumbnail(encode(scene(1), "PNG")), 1.0)
    assert is_mirrored(one, np.ascontiguousarray(one[:, ::-1]))
    assert not is_mirrored(one, one)


def test_a_turn_is_noticed_and_taken_back():
    thumbs = np.stack([thumbnail(encode(scene(number), "PNG")) for number in range(8)])
    others = np.stack([apply_turn(thumb, number) for number, thumb in enumerate(thumbs)])
    turns = find_turns(thumbs, others)
    assert (turns.correlation > 0.99).all()
    turned_back = np.stack([apply_turn(other, int(turn)) for other, turn in zip(others, turns.turn, strict=True)])
    for one, other in zip(thumbs, turned_back, strict=True):
        assert (other == one).all() or (other == one[:, ::-1]).all()
    assert find_turns(thumbs, thumbs[::-1]).turn.tolist() == [0] * 8  # alike in no position
    assert find_turns(thumbs[:0], thumbs[:0]).turn.tolist() == []


def test_blocks_are_compared_once_aligned():
    one = thumbnail(encode(app(scene(1)), "PNG"))[None]
    other = thumbnail(encode(app(scene(2)), "PNG"))[None]
    again = thumbnail(encode(app(scene(1)), "JPEG", quality=60))[None]
    assert align(one, other, 0.75, 0.96, 0.5).differing[0] > LIMITS.coarse_local_difference
    assert align(one, again, 0.75, 0.96, 0.5).differing[0] == 0.0
    assert align(one, other, 0.75, 0.96, 1.1).differing[0] == 0.0  # not asked
    assert differing_unaligned(one, other[:, :, ::-1])[0] > LIMITS.coarse_local_difference
