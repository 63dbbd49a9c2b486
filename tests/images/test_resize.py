import numpy as np
import pytest
from PIL import Image

from pipeline.images.resize import Resize, to_square
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


def wide(rng, size=(300, 100)):
    return draw(rng, size)


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (111, 37), (40, 40), (1, 300)])
def test_crop_is_the_middle_of_the_picture_whose_shorter_side_was_resized(rng, size):
    image = draw(rng, size)
    square = to_square(image, 32, Resize("crop"))
    scale = 32 / min(size)
    whole = image.resize([round(length * scale) for length in size], Image.Resampling.BILINEAR)
    left, top = (whole.width - 32) // 2, (whole.height - 32) // 2
    theirs = np.asarray(whole.crop((left, top, left + 32, top + 32))).astype(int)
    assert square.shape == (32, 32, 3)
    assert np.abs(square - theirs).mean() < 2  # they round the longer side to whole pixels


def test_crop_sees_nothing_of_the_ends():
    image = Image.new("RGB", (300, 100), "blue")
    image.paste("red", (100, 0, 200, 100))
    square = to_square(image, 32, Resize("crop"))
    assert (square[:, 1:-1] == [255, 0, 0]).all()
    assert (to_square(image.rotate(90, expand=True), 32, Resize("crop"))[1:-1] == [255, 0, 0]).all()


@pytest.mark.parametrize("upright", [False, True])
def test_pad_keeps_the_shape_and_puts_black_beside_it(upright):
    image = Image.new("RGB", (100, 300) if upright else (300, 100), "white")
    square = to_square(image, 33, Resize("pad"))
    shown = square.all(axis=2)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    across, along = (columns, rows) if upright else (rows, columns)
    assert (along[0], along[-1]) == (0, 32)
    assert (across[0], across[-1]) == (11, 21)
    assert set(np.unique(square)) == {0, 255}


@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_the_middle_of_a_larger_square(rng, mode):
    """As Yahoo's open_nsfw and torchvision have it: 256 px, of which the middle 224 are seen."""
    image = wide(rng, (600, 400))
    whole = to_square(image, 256, Resize(mode)).astype(int)
    square = to_square(image, 224, Resize(mode, 256))
    assert np.abs(square - whole[16:240, 16:240]).max() <= 1
    padded = to_square(image, 24, Resize("pad", 32))
    np.testing.assert_array_equal(padded, to_square(image, 32, Resize("pad"))[4:28, 4:28])


@pytest.mark.parametrize("wrong", [{"mode": "stretch"}, {"side": 0}])
def test_an_unknown_resize_is_an_error(wrong):
    with pytest.raises(ValueError, match="the resize"):
        Resize(**wrong)
