import io
import pickle

import numpy as np
import pytest
from PIL import Image

from pipeline.images import sandbox
from pipeline.images.decode import Limits, Rejected, decode
from pipeline.images.resize import to_square
from pipeline.images.squares import Squaring


def picture(width=60, height=40):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_square_is_what_training_saw():
    square = Squaring(Limits(), 24).from_bytes(picture())
    assert (square.dtype, square.shape) == (np.uint8, (24, 24, 3))
    np.testing.assert_array_equal(square, to_square(decode(picture()).image, 24))


def test_limits_hold():
    with pytest.raises(Rejected, match="too_small"):
        Squaring(Limits(min_side=41), 24).from_bytes(picture())


def test_it_crosses_to_a_worker_and_back():
    squaring = pickle.loads(pickle.dumps(Squaring(Limits(max_pixels=2400), 24)))  # noqa: S301 -- our own
    outcomes = list(
        sandbox.run(squaring.from_bytes, [picture(), b"x", picture(61, 40)], sandbox.Limits(seconds=20, memory_mb=256))
    )
    np.testing.assert_array_equal(outcomes[0], Squaring(Limits(), 24).from_bytes(picture()))
    assert [outcome.code for outcome in outcomes[1:]] == ["not_a_picture", "too_many_pixels"]
