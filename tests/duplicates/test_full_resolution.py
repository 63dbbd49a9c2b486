from PIL import Image

from pipeline.data import shards
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from tests.support.copies import scene
from tests.support.dedupe_params import LIMITS
from tests.support.pictures import encode, sha


def stored(folder, *contents):
    shards.write(folder / "0001.tar", [(sha(data), ".png", data) for data in contents])
    return shards.list_members(folder / "0001.tar")


def test_pairs_are_compared_on_decoded_pixels_and_what_does_not_decode_is_like_nothing(tmp_path):
    large = scene(6, (400, 320))
    one, mirrored, broken = stored(
        tmp_path, encode(large, "PNG"), encode(large.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"), b"no picture"
    )
    inspector = PairInspector(tmp_path, Limits(), sandbox.WorkerLimits(20, 1024))
    measures = inspector.inspect([(one, mirrored), (one, broken)], LIMITS.block_correlation, LIMITS.local_difference)
    assert measures.pieces[0] > 0.99
    assert [part[1] for part in measures] == [0.0] * 5
    assert measures.keypoints[0] == 0.0  # not asked
    assert inspector.inspect([(one, mirrored)], 1.1, LIMITS.local_difference).keypoints[0] >= LIMITS.min_keypoints
    assert [len(part) for part in inspector.inspect([], LIMITS.block_correlation, LIMITS.local_difference)] == [0] * 5
