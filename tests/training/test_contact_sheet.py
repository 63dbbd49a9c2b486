import numpy as np
import pytest
from PIL import Image

from pipeline.model import augment
from pipeline.params.augment import Augment
from pipeline.training.contact_sheet import CELL, FORMS, GAP, TEXT, contact_sheet

RANGES = Augment(rotation=30.0, shift=0.2, shear=0.2, zoom=0.2, flip=True, channel_shift=20.0, crop=0.2)


def pictures(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), np.uint8)


def cell(sheet: Image.Image, row: int, column: int, side: int) -> np.ndarray:
    left, top = column * (side + GAP), row * (TEXT + side + GAP) + TEXT
    return np.asarray(sheet)[top : top + side, left : left + side]


def test_a_row_is_the_picture_and_seven_forms_of_it_as_training_draws_them():
    shown = pictures(3, 40)
    sheet = contact_sheet(shown, ["neutral", "porn", "drawings"], RANGES, seed=7)
    draws = augment.draw(np.random.default_rng(7), 3 * FORMS, RANGES, 40)
    forms = augment.apply(np.repeat(shown, FORMS, axis=0), *draws)
    for row in range(3):
        np.testing.assert_array_equal(cell(sheet, row, 0, 40), shown[row])
        for column in range(FORMS):
            np.testing.assert_allclose(cell(sheet, row, 1 + column, 40), forms[row * FORMS + column], atol=0.51)
    assert sheet.size == (8 * 40 + 7 * GAP, 3 * (TEXT + 40) + 2 * GAP)


def test_large_pictures_are_shrunk():
    shown = pictures(1, 299)
    sheet = contact_sheet(shown, ["porn"], RANGES, seed=7)
    assert sheet.size == (8 * CELL + 7 * GAP, TEXT + CELL)
    np.testing.assert_array_equal(cell(sheet, 0, 0, CELL), Image.fromarray(shown[0]).resize((CELL, CELL)))


def test_the_same_seed_is_the_same_sheet_and_the_name_is_on_it():
    def drawn(name: str, seed: int) -> np.ndarray:
        return np.asarray(contact_sheet(pictures(1, 64), [name], RANGES, seed))

    first, again, other, renamed = drawn("porn", 1), drawn("porn", 1), drawn("porn", 2), drawn("sexy", 1)
    np.testing.assert_array_equal(first, again)
    assert (first[TEXT:, 66:] != other[TEXT:, 66:]).any()
    assert (first[:TEXT] != renamed[:TEXT]).any()
    np.testing.assert_array_equal(first[TEXT:], renamed[TEXT:])


@pytest.mark.parametrize(("given", "rows"), [(8, 8), (20, 8)])
def test_it_has_eight_rows_at_most(given, rows):
    sheet = contact_sheet(pictures(given, 32), ["a"] * given, RANGES, seed=1)
    assert sheet.height == rows * (TEXT + 32 + GAP) - GAP
