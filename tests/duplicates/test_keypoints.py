import io

import numpy as np
from PIL import Image, ImageDraw

from pipeline.duplicates.keypoints import find_agreement
from tests.support.copies import COPIES, scene
from tests.support.dedupe_params import LIMITS
from tests.support.pictures import encode


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
    assert find_agreement(grey(encode(large, "PNG")), grey(COPIES["crop"](large))).number > LIMITS.min_keypoints
    ours, theirs = (grey(encode(stamped(detailed(number)), "PNG")) for number in (4, 5))
    assert find_agreement(ours, theirs).number < LIMITS.min_keypoints
    assert find_agreement(np.full((200, 200), 9, dtype=np.uint8), ours) == (0, None)
