import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from copies import COPIES, scene, thumbnail
from pictures import encode, sha
from PIL import Image, ImageDraw

from pipeline import compute
from pipeline.images import sandbox, shards, verification
from pipeline.images.decode import Limits
from pipeline.images.verification import HOW, Eyes, align, compare, keypoints_agreeing, verify
from pipeline.params import Dedupe

PARAMS = Dedupe.model_validate(
    yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["dedupe"]
)
BLIND = Eyes(Path("nowhere"), Limits(), sandbox.Limits(1, 256))


def grey(data, side=320):
    picture = Image.open(io.BytesIO(data)).convert("L")
    picture.thumbnail((side, side))
    return np.asarray(picture)


@pytest.mark.parametrize("name", COPIES)
def test_thumbnails_of_a_copy_align_and_of_another_picture_do_not(name):
    one = thumbnail(encode(scene(1), "PNG"))[None]
    copy = thumbnail(COPIES[name](scene(1)))[None]
    other = thumbnail(COPIES[name](scene(2)))[None]
    for left, right in ((one, copy), (copy, one)):
        assert align(left, right, compare(left, right), PARAMS.unlike)[0] > PARAMS.same
    assert align(one, other, compare(one, other), PARAMS.unlike)[0] < PARAMS.unlike


def test_flat_thumbnails_correlate_with_nothing():
    flat = np.full((1, 64, 64), 90, dtype=np.uint8)
    assert compare(flat, flat).tolist() == [0.0]
    assert align(flat, thumbnail(encode(scene(1), "PNG"))[None], np.zeros(1), 0.75)[0] <= 0.0


def test_many_pairs_are_aligned_by_several_processes_with_the_same_outcome(monkeypatch):
    thumbs = np.stack([thumbnail(encode(scene(number), "PNG")) for number in range(4)])
    left, right = thumbs[[0, 0, 1, 2]], thumbs[[1, 0, 3, 2]]
    one = align(left, right, np.zeros(4), 0.75)
    monkeypatch.setattr(verification, "_CHUNK", 2)
    monkeypatch.setattr(compute, "cores", lambda: 2)
    assert align(left, right, np.zeros(4), 0.75).tolist() == one.tolist()
    assert one[1] == pytest.approx(1.0, abs=1e-3)


def stamped(image):
    picture = image.copy()
    ImageDraw.Draw(picture).text((8, 8), "www.example.com", fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def detailed(seed):
    """A picture full of corners: keypoints are found on what is sharp."""
    rng, picture = np.random.default_rng(seed), scene(seed, (400, 320))
    for _ in range(80):
        x, y, width, height = (int(number) for number in rng.integers(5, [380, 300, 60, 60]))
        ImageDraw.Draw(picture).rectangle((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return picture


def test_keypoints_agree_on_a_cut_copy_and_not_because_of_a_common_watermark():
    large = detailed(3)
    assert keypoints_agreeing(grey(encode(large, "PNG")), grey(COPIES["crop"](large))) > PARAMS.keypoints
    ours, theirs = (grey(encode(stamped(detailed(number)), "PNG")) for number in (4, 5))
    assert keypoints_agreeing(ours, theirs) < PARAMS.keypoints
    assert keypoints_agreeing(np.full((200, 200), 9, dtype=np.uint8), ours) == 0


def stored(folder, *contents):
    shards.write(folder / "0001.tar", [(sha(data), ".png", data) for data in contents])
    return shards.list_members(folder / "0001.tar")


def test_eyes_count_on_decoded_pixels_and_what_does_not_decode_agrees_with_nothing(tmp_path):
    large = scene(6, (400, 320))
    one, mirrored, broken = stored(
        tmp_path, encode(large, "PNG"), encode(large.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), b"no picture"
    )
    eyes = Eyes(tmp_path, Limits(), sandbox.Limits(20, 1024))
    counts = eyes.agreeing([(one, mirrored), (one, broken)])
    assert counts[0] > PARAMS.keypoints
    assert counts[1] == 0


def test_questions_are_asked_in_turn_and_only_where_needed(monkeypatch):
    same, cut = thumbnail(encode(scene(1), "PNG")), thumbnail(COPIES["crop"](scene(1)))
    other = thumbnail(encode(scene(2), "PNG"))
    pairs = [(None, None)] * 3
    found = verify(np.stack([same] * 3), np.stack([same, cut, other]), np.array([0, 40, 70]), pairs, PARAMS, BLIND)
    assert found.same.tolist() == [True, True, False]
    assert [HOW[how] for how in found.how] == ["hash", "thumbnail", "thumbnail"]
    # Between unlike and same, and too far for `likely`: keypoints decide.
    monkeypatch.setattr(Eyes, "agreeing", lambda self, asked: np.array([30, 10][: len(asked)]))
    strict = PARAMS.model_copy(update={"same": 1.0, "sure_distance": 0, "likely_distance": 0, "likely_far": 0})
    doubtful = verify(np.stack([same] * 2), np.stack([cut, cut]), np.array([40, 40]), pairs[:2], strict, BLIND)
    assert doubtful.same.tolist() == [True, False]
    assert doubtful.score.tolist() == [30.0, 10.0]
    assert [HOW[how] for how in doubtful.how] == ["keypoints", "keypoints"]


def test_a_small_distance_alone_is_not_enough():
    left, right = (thumbnail(encode(scene(number), "PNG"))[None] for number in (1, 2))
    assert not verify(left, right, np.array([5]), [(None, None)], PARAMS, BLIND).same[0]
