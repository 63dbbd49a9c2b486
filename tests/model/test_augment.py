import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from scipy.stats import ks_2samp

from pipeline.model import augment, views
from pipeline.params import Augment

SIZE = 48
ARTICLE = Augment(rotation=30.0, shift=0.2, shear=12.0, zoom=0.2, flip=True, channel_shift=20.0)
# Shear 12 degrees, not the article's 0.2: an angle of no effect would hide a wrong sign.


def keras_generator(ranges: Augment) -> ImageDataGenerator:
    return ImageDataGenerator(
        rotation_range=ranges.rotation,
        width_shift_range=ranges.shift,
        height_shift_range=ranges.shift,
        shear_range=ranges.shear,
        zoom_range=ranges.zoom,
        horizontal_flip=ranges.flip,
        channel_shift_range=ranges.channel_shift,
        fill_mode="nearest",
    )


def picture(seed: int) -> np.ndarray:
    """Smooth, so that a sub-pixel difference is a small one, and unlike any mirror or turn of itself."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(5 * rows + 9 * columns * (1 + k) + phase[k]) + rows * (k + 1) / 3 for k in range(3)]
    return np.clip(110 + 70 * np.stack(waves, axis=-1), 0, 255).astype("float32")


def coefficients(drawn: dict) -> np.ndarray:
    """Our warp of one of Keras' draws."""
    column = lambda key: np.array([float(drawn[key])])  # noqa: E731 -- shorter than its def
    angles = np.deg2rad(column("theta")), column("tx"), column("ty"), np.deg2rad(column("shear"))
    zoom = np.stack([column("zx"), column("zy")])
    return augment._coefficients(augment._compose(*angles, zoom, np.array([bool(drawn["flip_horizontal"])]), SIZE))


@pytest.mark.parametrize("seed", range(12))
def test_a_warp_is_keras_own(seed):
    generator = keras_generator(ARTICLE)
    drawn = generator.get_random_transform((SIZE, SIZE, 3), seed=seed)
    original = picture(seed)
    wanted = generator.apply_transform(original, drawn)
    channel = np.array([drawn["channel_shift_intensity"]], "float32")
    found = augment.apply(original[None], coefficients(drawn), channel).numpy()[0]
    assert np.abs(wanted - original).max() > 20  # it did something
    np.testing.assert_allclose(found, wanted, atol=0.05)


def recovered(warps: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters that made each warp: the flip and the centring undone, then rotation out of the linear part."""
    m00, m01, m02, m10, m11, m12 = warps.astype("float64")[:, :6].T
    flip = m00 * m11 - m01 * m10 < 0
    sign = np.where(flip, -1, 1)
    m02, m12 = m02 + np.where(flip, m00 * (SIZE - 1), 0), m12 + np.where(flip, m10 * (SIZE - 1), 0)
    m00, m10 = m00 * sign, m10 * sign
    middle = SIZE / 2 - 0.5
    theta = np.arctan2(m10, m00)
    cos, sin = np.cos(theta), np.sin(theta)
    offset = m02 - middle + middle * (m00 + m01), m12 - middle + middle * (m10 + m11)
    across = cos * m01 + sin * m11, -sin * m01 + cos * m11
    return {
        "theta": np.rad2deg(theta),
        "tx": cos * offset[0] + sin * offset[1],
        "ty": -sin * offset[0] + cos * offset[1],
        "shear": np.rad2deg(np.arctan2(-across[0], across[1])),
        "zx": np.hypot(m00, m10),
        "zy": np.hypot(*across),
        "flip_horizontal": flip,
    }


def test_draws_are_distributed_as_keras_own():
    n = 3_000
    warps, channel = augment.draw(np.random.default_rng(1), n, ARTICLE, SIZE)
    found = recovered(warps) | {"channel_shift_intensity": channel}
    np.random.seed(2)  # noqa: NPY002 -- Keras' generator draws from the global stream
    generator = keras_generator(ARTICLE)
    theirs = [generator.get_random_transform((SIZE, SIZE, 3)) for _ in range(n)]
    limits = {"theta": 30, "tx": 0.2 * SIZE, "ty": 0.2 * SIZE, "shear": 12, "channel_shift_intensity": 20}
    for name, values in found.items():
        if name == "flip_horizontal":
            assert np.mean(values) == pytest.approx(0.5, abs=0.04)
            continue
        assert ks_2samp(values, [drawn[name] for drawn in theirs]).pvalue > 1e-3, name
        middle, reach = (1, 0.2) if name in {"zx", "zy"} else (0, limits[name])
        assert np.abs(values - middle).max() == pytest.approx(reach, rel=0.02), name
    assert np.abs(np.corrcoef([values.astype("float64") for values in found.values()]) - np.eye(8)).max() < 0.08


def test_no_ranges_leave_a_picture_as_it_is(no_augmentation):
    pictures = np.stack([picture(seed) for seed in range(3)]).astype("uint8")
    draws = augment.draw(np.random.default_rng(0), 3, no_augmentation, SIZE)
    np.testing.assert_array_equal(augment.apply(pictures, *draws), pictures)


def test_flips_alone_mirror_about_half_of_them(no_augmentation):
    ranges = no_augmentation.model_copy(update={"flip": True})
    pictures = np.stack([picture(seed) for seed in range(40)])
    found = augment.apply(pictures, *augment.draw(np.random.default_rng(0), 40, ranges, SIZE)).numpy()
    same = np.array([np.allclose(left, right, atol=1e-3) for left, right in zip(found, pictures, strict=True)])
    np.testing.assert_allclose(found[~same], pictures[~same, :, ::-1], atol=1e-3)
    assert 10 < same.sum() < 30


def test_a_channel_shift_stays_within_the_pictures_own_range(no_augmentation):
    draws = augment.draw(np.random.default_rng(0), 2, no_augmentation, SIZE)[0]
    pictures = np.stack([picture(0), picture(1)])
    found = augment.apply(pictures, draws, np.array([15.0, -15.0], "float32")).numpy()
    low, high = pictures.min(axis=(1, 2, 3), keepdims=True), pictures.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, np.clip(pictures + np.reshape([15, -15], (2, 1, 1, 1)), low, high), atol=1e-4)


def test_a_contents_views_do_not_depend_on_the_others():
    contents = [f"{number:064x}" for number in (3 << 200, 5 << 200, 7 << 200)]
    together = views.draw_views(contents, 2, ARTICLE, SIZE, seed=1)
    for place, content in enumerate(contents):
        alone = views.draw_views([content], 2, ARTICLE, SIZE, seed=1)
        np.testing.assert_array_equal(together[0][place], alone[0][0])
        assert together[1][place] == alone[1][0]
    kinds = [together, *(views.draw_views(contents, view, ARTICLE, SIZE, seed) for view, seed in ((1, 1), (2, 2)))]
    assert len(np.unique(np.concatenate([channel for _, channel in kinds]))) == 9  # by content, view and seed
