"""PDQ as Meta's own program computes it, and the copies that it still finds."""

import io

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.screening.hashing import of_frame
from pipeline.screening.pdq import pdq
from tests.support.screens import copies, detailed, meta_hash


def bits(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(40, 512), st.integers(40, 512))
def test_hash_and_quality_are_those_of_the_reference_for_pictures_of_any_size(seed, width, height):
    image = detailed(seed, (width, height)).convert("L").convert("RGB")
    theirs, quality = pdqhash.compute(np.asarray(image))
    own = pdq(np.asarray(image.convert("L")))
    # Floats are added in another order: a bit whose frequency is at the median may differ.
    assert int((bits(own.hashes[0]) != theirs).sum()) <= 8
    assert abs(own.quality - quality) <= 2


def test_a_plain_picture_has_little_quality_and_a_rich_one_much():
    assert of_frame(Image.new("RGB", (300, 200), "navy")).quality == 0
    assert of_frame(detailed(1)).quality == 100


@pytest.mark.parametrize("kind", ["again", "cropped", "resized"])
def test_copies_are_within_31_bits_of_the_listed_picture(kind):
    near = 0
    for number in range(20):
        image = detailed(number)
        listed = np.frombuffer(bytes.fromhex(meta_hash(image)), np.uint8)
        copy = Image.open(io.BytesIO(copies(image)[kind]))
        distances = np.bitwise_count(of_frame(copy.convert("RGB")).array ^ listed).sum(axis=1)
        near += int(distances.min() <= 31)
    assert near == 20


def test_different_pictures_are_far_apart():
    hashes = np.stack([of_frame(detailed(number)).array for number in range(60)])
    for number, own in enumerate(hashes):
        others = np.delete(hashes, number, axis=0).reshape(-1, 32)
        assert min(int(np.bitwise_count(one ^ others).sum(axis=1).min()) for one in own) > 60


def test_large_pictures_are_made_smaller_first_as_by_the_reference():
    image = detailed(3, (2400, 1800))
    listed = np.frombuffer(bytes.fromhex(meta_hash(image.resize((512, 512), Image.Resampling.NEAREST))), np.uint8)
    assert int(np.bitwise_count(of_frame(image).array[0] ^ listed).sum()) <= 12
