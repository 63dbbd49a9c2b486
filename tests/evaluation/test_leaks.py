import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation import leaks
from pipeline.images.distortions import DISTORTIONS
from pipeline.images.resize import to_square
from tests.support.pictures import draw


@pytest.fixture
def originals(rng) -> list[Image.Image]:
    return [draw(rng, (90, 70)) for _ in range(30)]


def packed(images: list[Image.Image], size: int = 64) -> np.ndarray:
    return np.stack([to_square(image, size) for image in images])


def in_chunks(pictures: np.ndarray, step: int):
    for start in range(0, len(pictures), step):
        part = pictures[start : start + step]
        yield [f"train-{start + k}" for k in range(len(part))], leaks.thumbnails(part)


@pytest.mark.parametrize("size", [16, 40, 64, 99])
def test_a_thumbnail_is_the_mean_over_exact_areas(size, rng):
    pictures = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    thumbs = leaks.thumbnails(pictures)
    assert thumbs.shape == (3, 256)
    assert thumbs.mean(axis=1) == pytest.approx(0.0, abs=1e-6)
    assert np.linalg.norm(thumbs, axis=1) == pytest.approx(1.0, abs=1e-5)
    if size == 64:
        grey = pictures @ np.array([0.299, 0.587, 0.114])
        blocks = grey.reshape(3, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(3, -1)
        blocks -= blocks.mean(axis=1, keepdims=True)
        assert thumbs == pytest.approx(blocks / np.linalg.norm(blocks, axis=1, keepdims=True), abs=1e-5)


@pytest.mark.parametrize("form", ["half", "jpeg50", "grey", "mirrored"])
@pytest.mark.parametrize("step", [7, 100])
def test_a_distorted_copy_is_found_and_nothing_else(originals, form, step):
    copies = [DISTORTIONS[form](image) for image in originals[:3]]
    strangers = originals[20:]
    matches = leaks.near_copies(
        leaks.thumbnails(packed([*copies, *strangers])), in_chunks(packed(originals[:20]), step)
    )
    assert [(match.test, match.train) for match in matches] == [(0, "train-0"), (1, "train-1"), (2, "train-2")]
    assert all(0.98 <= match.correlation <= 1.0 for match in matches)


def test_a_picture_of_one_colour_matches_nothing():
    flat = np.full((2, 64, 64, 3), 200, np.uint8)
    flat[:, ::2] += 2
    thumbs = leaks.thumbnails(flat)
    assert not thumbs.any()
    assert leaks.near_copies(thumbs, [(["a", "b"], thumbs)]) == []


def test_test_sets_larger_than_a_chunk_are_looked_through(originals, monkeypatch):
    monkeypatch.setattr(leaks, "_CHUNK", 4)
    thumbs = leaks.thumbnails(packed(originals))
    matches = leaks.near_copies(thumbs, in_chunks(packed(originals), 5))
    assert [match.train for match in matches] == [f"train-{i}" for i in range(30)]


def test_the_report_counts_all_and_lists_the_nearest():
    matches = [leaks.Match(0, "x", 0.985), leaks.Match(2, "y", 0.999)]
    report = leaks.report(matches, ["a", "b", "c", "d"], 9, 0, threshold=0.98, most=1)
    assert (report["near"], report["share"], report["test_pictures"], report["train_pictures"]) == (2, 0.5, 4, 9)
    assert report["pairs"] == [{"test": "c", "train": "y", "correlation": 0.999}]
    assert report["straddling"] == 0
