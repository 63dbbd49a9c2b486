import io
import pickle

import numpy as np
import pytest
from PIL import Image

from pipeline.images import sandbox
from pipeline.images.decode import decode
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import Preprocessor
from pipeline.images.resize import Resize, to_square


def picture(width=60, height=40):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_square_is_what_training_saw():
    square = Preprocessor(Limits(), 24).from_bytes(picture())
    assert (square.dtype, square.shape) == (np.uint8, (24, 24, 3))
    np.testing.assert_array_equal(square, to_square(decode(picture()).image, 24))


def photograph(width, height, **how):
    """A JPEG with some detail at every scale."""
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92, **how)
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(191, 95), (95, 400), (60, 40)])
def test_a_picture_under_four_times_the_side_keeps_its_very_pixels(width, height):
    data = photograph(width, height)
    square = Preprocessor(Limits(), 24).from_bytes(data)
    np.testing.assert_array_equal(square, to_square(decode(data).image, 24))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = photograph(640, 400, exif=exif.tobytes())
    square = Preprocessor(Limits(), 24).from_bytes(data).astype(int)
    whole = to_square(decode(data).image, 24).astype(int)
    assert 0 < np.abs(square - whole).mean() < 2
    assert decode(data, None, 101).image.size == ((320, 200) if orientation != 6 else (200, 320))
    assert decode(data, None, 100).image.size == ((160, 100) if orientation != 6 else (100, 160))
    assert decode(data, None, 400).image.size == decode(data).image.size


def test_a_jpeg_of_which_the_middle_is_seen_keeps_the_pixels_that_it_needs():
    data = photograph(640, 400)
    square = Preprocessor(Limits(), 24, Resize("crop", 100)).from_bytes(data).astype(int)
    assert np.abs(square - to_square(decode(data, None, 200).image, 24, Resize("crop", 100))).max() == 0


def test_a_cut_jpeg_is_refused_at_any_scale():
    data = photograph(640, 400)
    with pytest.raises(Rejected, match="broken"):
        Preprocessor(Limits(), 24).from_bytes(data[: len(data) // 2])


def test_limits_hold():
    with pytest.raises(Rejected, match="too_small"):
        Preprocessor(Limits(min_side=41), 24).from_bytes(picture())


def test_it_crosses_to_a_worker_and_back():
    preprocessor = pickle.loads(pickle.dumps(Preprocessor(Limits(max_pixels=2400), 24)))  # noqa: S301 -- our own
    outcomes = list(
        sandbox.run(
            preprocessor.from_bytes, [picture(), b"x", picture(61, 40)], sandbox.WorkerLimits(seconds=20, memory_mb=256)
        )
    )
    np.testing.assert_array_equal(outcomes[0], Preprocessor(Limits(), 24).from_bytes(picture()))
    assert [outcome.code for outcome in outcomes[1:]] == ["not_a_picture", "too_many_pixels"]
