import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from pipeline.duplicates import differing_blocks
from tests.support.copies import SCREEN, app, scene, thumbnail
from tests.support.dedupe_params import LIMITS
from tests.support.pictures import encode


def small(image, quality=85):
    return thumbnail(encode(image, "JPEG", quality=quality))


@pytest.mark.parametrize("box", [(55, 110, 185, 200), (10, 60, 230, 210), (0, 45, 240, 245)])
def test_another_photograph_in_the_same_frame_is_a_block_that_differs(box):
    for other in range(2, 8):
        assert (
            differing_blocks.share(small(app(scene(1), box)), small(app(scene(other), box))) > LIMITS.local_difference
        )
    assert differing_blocks.share(small(app(scene(1), box)), small(app(scene(1), box), 40)) == 0.0


def test_what_differs_need_not_have_structure():
    plain = Image.new("RGB", SCREEN, (90, 60, 60))
    assert differing_blocks.share(small(app(scene(1))), small(app(plain))) > LIMITS.local_difference


def watermarked(image, opacity):
    width, height = image.size
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    top = height * 2 // 3
    draw.rectangle((width // 8, top, width * 7 // 8, top + height // 12), fill=(0, 0, 0, 90))
    for left in range(width // 6, width * 5 // 6, width // 20):
        draw.rectangle(
            (left, top + height // 60, left + width // 40, top + height // 15), fill=(255, 255, 255, opacity)
        )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


@pytest.mark.parametrize("seed", range(5))
def test_a_watermark_is_thin_and_a_veil_is_translucent(seed):
    whole = scene(seed)
    assert differing_blocks.share(small(whole), small(watermarked(whole, 200))) < LIMITS.local_difference
    veil = Image.blend(whole, Image.new("RGB", whole.size, (250, 250, 250)), 0.25)
    half = whole.copy()
    half.paste(veil.crop((60, 40, 160, 130)), (60, 40))
    assert differing_blocks.share(small(whole), small(half)) < LIMITS.local_difference


def test_brightness_and_contrast_are_no_difference():
    changed = ImageEnhance.Contrast(ImageEnhance.Brightness(scene(3)).enhance(1.2)).enhance(0.8)
    assert differing_blocks.share(small(scene(3)), small(changed)) == 0.0


def test_only_what_both_cover_is_compared():
    one, other = small(app(scene(1))), small(app(scene(2)))
    outside = np.ones((64, 64), dtype=np.bool_)
    outside[15:34] = False
    assert differing_blocks.share(one, other, outside) == 0.0
    assert differing_blocks.share(one, other, np.zeros((64, 64), dtype=np.bool_)) == 0.0
    assert differing_blocks.share(one, one) == 0.0


def test_an_alignment_that_leaves_the_frame_is_not_believed():
    """A difference inside a frame pulls the alignment away from it: then both are compared without alignment."""
    one, other = small(app(scene(1))), small(app(scene(2)))
    moved = np.roll(other, 3, axis=1)
    assert differing_blocks.share_of_best(one, [(moved, None), (other, None)]) == differing_blocks.share(one, other)
    cropped = np.roll(one, 3, axis=1)
    inside = np.ones((64, 64), dtype=np.bool_)
    inside[:, 61:] = False
    assert differing_blocks.share_of_best(one, [(np.roll(cropped, -3, axis=1), inside), (cropped, None)]) == 0.0
