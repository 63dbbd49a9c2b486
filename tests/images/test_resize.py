import numpy as np
import pytest
from PIL import Image

from pipeline.images.resize import to_square
from tests.support.pictures import draw


@pytest.mark.parametrize("size", [(1, 1), (300, 20), (32, 32)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_picture_becomes_a_square(rng, size, mode):
    square = to_square(draw(rng, size, mode), 32)
    assert (square.shape, square.dtype) == ((32, 32, 3), np.uint8)


def test_a_picture_of_that_size_stays_as_it_is(rng):
    assert (to_square(draw(rng, (32, 32)), 32) == np.asarray(draw(np.random.default_rng(1), (32, 32)))).all()


def test_nothing_at_the_edge_goes_unseen():
    image = Image.new("RGB", (320, 32), "black")
    image.paste("white", (310, 0, 320, 32))
    square = to_square(image, 32)
    assert square[:, -1].min() > 200
    assert square[:, :-2].max() == 0


def test_shrinking_is_antialiased():
    """Each pixel of a fine chessboard's copy is grey: a plain sampling would show black and white moire."""
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    square = to_square(Image.fromarray(board.astype(np.uint8)), 32)
    assert np.abs(square.astype(int) - 127).max() < 20
