"""A contact sheet of a few pictures and augmented forms of them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from pipeline.model import augment
from pipeline.params.augment import Augment

ROWS = 8
FORMS = 7  # augmented ones, beside the original
CELL = 128  # px, at most
GAP, TEXT = 2, 16  # px between cells, and above a row for its name


def contact_sheet(pictures: np.ndarray, names: Sequence[str], ranges: Augment, seed: int) -> Image.Image:
    """Draw a row for each of the first eight pictures: the original, then seven augmented forms.

    Args:
        pictures: uint8 (n, size, size, 3), at least one.
        names: of their classes (n), written above the rows.
        ranges: of the augmentation, drawn and applied as for training.
        seed: the same seed gives the same sheet.

    """
    pictures = pictures[:ROWS]
    rows, size = pictures.shape[:2]
    draws = augment.draw(np.random.default_rng(seed), rows * FORMS, ranges, size)
    forms = augment.apply(np.repeat(pictures, FORMS, axis=0), *draws).round().astype(np.uint8)
    side = min(size, CELL)
    sheet = Image.new("RGB", ((1 + FORMS) * (side + GAP) - GAP, rows * (TEXT + side + GAP) - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (picture, name) in enumerate(zip(pictures, names, strict=False)):
        top = row * (TEXT + side + GAP)
        pen.text((2, top + TEXT / 2), name, fill="black", anchor="lm", font_size=12)
        for column, cell in enumerate([picture, *forms[row * FORMS : (row + 1) * FORMS]]):
            sheet.paste(Image.fromarray(cell).resize((side, side)), (column * (side + GAP), top + TEXT))
    return sheet
