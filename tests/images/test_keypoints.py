import io

import numpy as np
from copies import COPIES, scene
from pictures import encode, sha
from PIL import Image, ImageDraw
from test_verification import PARAMS

from pipeline.images import sandbox, shards
from pipeline.images.decode import Limits
from pipeline.images.keypoints import Eyes, compare_keypoints


def grey(data, side=320):
    picture = Image.open(io.BytesIO(data)).convert("L")
    picture.thumbnail((side, side))
    return np.asarray(picture)


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
    assert compare_keypoints(grey(encode(large, "PNG")), grey(COPIES["crop"](large))).agreeing > PARAMS.keypoints
    ours, theirs = (grey(encode(stamped(detailed(number)), "PNG")) for number in (4, 5))
    assert compare_keypoints(ours, theirs).agreeing < PARAMS.keypoints
    assert compare_keypoints(np.full((200, 200), 9, dtype=np.uint8), ours) == (0, 0)


def stored(folder, *contents):
    shards.write(folder / "0001.tar", [(sha(data), ".png", data) for data in contents])
    return shards.list_members(folder / "0001.tar")


def test_eyes_count_on_decoded_pixels_and_what_does_not_decode_agrees_with_nothing(tmp_path):
    large = scene(6, (400, 320))
    one, mirrored, broken = stored(
        tmp_path, encode(large, "PNG"), encode(large.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), b"no picture"
    )
    eyes = Eyes(tmp_path, Limits(), sandbox.Limits(20, 1024))
    found = eyes.look([(one, mirrored), (one, broken)])
    assert found[0, 0] > PARAMS.keypoints
    assert found[:, 1].tolist() == [0, 0]
    assert found[1, 0] == 0
    assert eyes.look([]).shape == (0, 2)


def two_shots(seed):
    """The same things before the same ground, half of them moved: what a second shot of a burst shows."""
    rng, shots = np.random.default_rng(seed), (scene(seed, (400, 320)), scene(seed, (400, 320)))
    for number in range(120):
        x, y, width, height = (int(number) for number in rng.integers(20, [330, 250, 60, 60]))
        fill = tuple(rng.integers(0, 256, 3).tolist())
        for shot, moved in zip(shots, (0, 12 if number % 2 else 0), strict=True):
            ImageDraw.Draw(shot).rectangle((x + moved, y - moved, x + width + moved, y + height - moved), fill=fill)
    return shots


def test_two_shots_of_one_scene_are_told_apart_and_a_copy_is_not():
    one, other = (grey(encode(shot, "PNG")) for shot in two_shots(7))
    assert compare_keypoints(one, other) == (0, 1)
    assert compare_keypoints(one, grey(COPIES["jpeg"](two_shots(7)[0]))).apart == 0
