from PIL import Image

from pipeline.data import shards
from pipeline.duplicates.full_resolution import Eyes
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from tests.support.copies import scene
from tests.support.dedupe_params import PARAMS
from tests.support.pictures import encode, sha


def stored(folder, *contents):
    shards.write(folder / "0001.tar", [(sha(data), ".png", data) for data in contents])
    return shards.list_members(folder / "0001.tar")


def test_pairs_are_compared_on_decoded_pixels_and_what_does_not_decode_is_like_nothing(tmp_path):
    large = scene(6, (400, 320))
    one, mirrored, broken = stored(
        tmp_path, encode(large, "PNG"), encode(large.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), b"no picture"
    )
    eyes = Eyes(tmp_path, Limits(), sandbox.Limits(20, 1024))
    found = eyes.look([(one, mirrored), (one, broken)], PARAMS.pieces, PARAMS.block)
    assert found.pieces[0] > 0.99
    assert [part[1] for part in found] == [0.0] * 5
    assert found.keypoints[0] == 0.0  # not asked
    assert eyes.look([(one, mirrored)], 1.1, PARAMS.block).keypoints[0] >= PARAMS.keypoints
    assert [len(part) for part in eyes.look([], PARAMS.pieces, PARAMS.block)] == [0] * 5
