import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from scipy.stats import ks_2samp, kstest

from pipeline.model import augment
from pipeline.params.augment import Augment
from pipeline.training import augmented_views

SIZE = 48
ARTICLE = Augment(rotation=30.0, shift=0.2, shear=12.0, zoom=0.2, flip=True, channel_shift=20.0, crop=0.0)
# Shear 12 degrees, not the article's 0.2: an angle without visible effect would hide a wrong sign.


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
    """A smooth picture, so that sub-pixel differences are small, and without any symmetry."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [np.sin(5 * rows + 9 * columns * (1 + k) + phase[k]) + rows * (k + 1) / 3 for k in range(3)]
    return np.clip(110 + 70 * np.stack(waves, axis=-1), 0, 255).astype("float32")


def coefficients(drawn: dict) -> np.ndarray:
    """Return our coefficients of one of Keras' draws."""
    column = lambda key: np.array([float(drawn[key])])  # noqa: E731 -- shorter than its def
    angles = np.deg2rad(column("theta")), column("tx"), column("ty"), np.deg2rad(column("shear"))
    zoom = np.stack([column("zx"), column("zy")])
    return augment._coefficients(augment._compose(*angles, zoom, np.array([bool(drawn["flip_horizontal"])]), SIZE))


def assert_the_warp_is_keras_own(drawn: dict, seed: int) -> None:
    original = picture(seed)
    wanted = keras_generator(ARTICLE).apply_transform(original, drawn)
    channel = np.array([drawn["channel_shift_intensity"]], "float32")
    warped = augment.apply(original[None], coefficients(drawn), channel)[0]
    assert np.abs(wanted - original).max() > 5  # it did something
    np.testing.assert_allclose(warped, wanted, atol=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_a_warp_is_keras_own(seed):
    assert_the_warp_is_keras_own(keras_generator(ARTICLE).get_random_transform((SIZE, SIZE, 3), seed=seed), seed)


@pytest.mark.parametrize(
    "operation",
    [
        {"theta": 17.0},
        {"tx": 5.3},
        {"ty": -5.3},
        {"shear": 11.0},
        {"zx": 0.85, "zy": 1.15},
        {"flip_horizontal": True},
        {"channel_shift_intensity": 13.0},
    ],
    ids=lambda operation: next(iter(operation)),
)
def test_each_operation_alone_is_keras_own(operation):
    nothing = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}
    assert_the_warp_is_keras_own(
        nothing | {"flip_horizontal": False, "flip_vertical": False, "channel_shift_intensity": 0.0} | operation, seed=3
    )


def recovered(warps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the parameters of each warp: undo flip and centring, then take the rotation from the linear part."""
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


N = 4_000
# Each operation's half-width: rotation and shear in degrees, shifts in pixels, the flip as 0 or 1.
REACH = {
    "theta": 30,
    "tx": 0.2 * SIZE,
    "ty": 0.2 * SIZE,
    "shear": 12,
    "zx": 0.2,
    "zy": 0.2,
    "flip_horizontal": 0.5,
    "channel_shift_intensity": 20,
}


@pytest.fixture(scope="module")
def ours() -> dict[str, np.ndarray]:
    warps, channel = augment.draw(np.random.default_rng(1), N, ARTICLE, SIZE)
    return {name: values.astype("float64") for name, values in recovered(warps).items()} | {
        "channel_shift_intensity": channel.astype("float64")
    }


@pytest.fixture(scope="module")
def theirs() -> dict[str, np.ndarray]:
    np.random.seed(2)  # noqa: NPY002 -- Keras' generator draws from the global stream
    generator = keras_generator(ARTICLE)
    drawn = [generator.get_random_transform((SIZE, SIZE, 3)) for _ in range(N)]
    return {name: np.array([float(one[name]) for one in drawn]) for name in REACH}


@pytest.mark.parametrize("name", REACH)
def test_draws_have_the_moments_of_keras_own(ours, theirs, name):
    # The standard error of a median of N draws, uniform in +-reach, is reach / sqrt(N); those of their mean, standard
    # deviation and other quantiles are smaller. Two samples: times sqrt(2). Four of these are a tenth of the reach.
    reach = REACH[name]
    statistics = [np.mean, np.std]
    if name != "flip_horizontal":  # 0 and 1, with nothing between
        statistics += [lambda values, q=q: np.quantile(values, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    for statistic in statistics:
        assert statistic(ours[name]) == pytest.approx(statistic(theirs[name]), abs=4 * reach * np.sqrt(2 / N))
    # The outermost draw is 2 * reach / N from the limit on average, and 14 times that once in a million.
    for outermost in (np.min, np.max):
        assert outermost(ours[name]) == pytest.approx(outermost(theirs[name]), abs=28 * reach / N)


def test_draws_are_distributed_as_keras_own_and_each_for_itself(ours, theirs):
    for name in REACH.keys() - {"flip_horizontal"}:
        assert ks_2samp(ours[name], theirs[name]).pvalue > 1e-3, name
    assert np.abs(np.corrcoef(list(ours.values())) - np.eye(8)).max() < 0.08


# As before crops were added: a training with the same seed sees the same pictures.
CHANNEL = [16.69191, -18.41628, 1.14357, -1.62656, -17.50602]
WARP = [1.10006, 0.00774, -4.06555, 0.01362, 1.08989, 2.41643, 0.0, 0.0]

CROPPED = ARTICLE.model_copy(update={"crop": 0.3})


def test_a_crop_keeps_any_share_and_lies_anywhere(no_augmentation):
    ranges = no_augmentation.model_copy(update={"crop": 0.3})
    warps, channel = augment.draw(np.random.default_rng(1), N, ranges, SIZE)
    side, offset = warps[:, [0, 4]].astype("float64"), warps[:, [2, 5]].astype("float64")
    assert not warps[:, [1, 3, 6, 7]].any()
    assert not channel.any()
    position = offset / (1 - side) / (SIZE - 1)
    for axis in range(2):
        assert kstest(side[:, axis], "uniform", (0.7, 0.3)).pvalue > 1e-3
        assert kstest(position[:, axis], "uniform").pvalue > 1e-3
    assert (side.min(), side.max()) == pytest.approx((0.7, 1.0), abs=0.003)
    assert np.abs(np.corrcoef(np.hstack([side, position]).T) - np.eye(4)).max() < 0.08


def test_nothing_outside_the_crop_is_seen(no_augmentation):
    ranges = no_augmentation.model_copy(update={"crop": 0.5})
    warps, channel = augment.draw(np.random.default_rng(1), 50, ranges, SIZE)
    column = np.broadcast_to(np.arange(SIZE, dtype="float32"), (SIZE, SIZE))
    where = np.broadcast_to(np.stack([column, column.T, column], axis=-1), (50, SIZE, SIZE, 3))
    seen = augment.apply(where, warps, channel)  # the columns and rows that each pixel was taken from
    for axis, (scale, first) in enumerate(((0, 2), (4, 5))):
        low, high = warps[:, first], warps[:, first] + warps[:, scale] * (SIZE - 1)
        np.testing.assert_allclose(seen[..., axis].min(axis=(1, 2)), low, atol=1e-3)
        np.testing.assert_allclose(seen[..., axis].max(axis=(1, 2)), high, atol=1e-3)
        assert low.min() >= 0
        assert high.max() <= SIZE - 1 + 1e-3
        assert np.mean(high - low < 0.9 * (SIZE - 1)) > 0.5  # a crop it is


def test_the_crop_comes_first_and_leaves_the_other_draws_as_they_are():
    plain, cropped = (augment.draw(np.random.default_rng(1), 30, ranges, SIZE) for ranges in (ARTICLE, CROPPED))
    np.testing.assert_array_equal(cropped[1], plain[1])
    pad = [np.pad(warps, ((0, 0), (0, 1)), constant_values=1).reshape(-1, 3, 3) for warps, _ in (plain, cropped)]
    crop = pad[1].astype("float64") @ np.linalg.inv(pad[0].astype("float64"))
    # What remains when the others are undone keeps each axis: a scale and an offset.
    np.testing.assert_allclose(crop[:, [0, 1, 2, 2], [1, 0, 0, 1]], 0, atol=1e-4)
    assert crop[:, [0, 1], [0, 1]].min() > 0.69
    assert crop[:, [0, 1], [0, 1]].max() < 1.01


def test_without_a_crop_the_random_stream_is_as_it_was():
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    warps, channel = augment.draw(rng, 5, ARTICLE, SIZE)
    same.random(8 * 5)  # eight numbers a picture, before there were crops
    assert rng.random() == same.random()
    np.testing.assert_allclose(channel, CHANNEL, atol=1e-4)
    np.testing.assert_allclose(warps[0], WARP, atol=1e-4)


def test_no_ranges_leave_a_picture_as_it_is(no_augmentation):
    pictures = np.stack([picture(seed) for seed in range(3)]).astype("uint8")
    draws = augment.draw(np.random.default_rng(0), 3, no_augmentation, SIZE)
    np.testing.assert_array_equal(augment.apply(pictures, *draws), pictures)


def test_flips_alone_mirror_about_half_of_them(no_augmentation):
    ranges = no_augmentation.model_copy(update={"flip": True})
    pictures = np.stack([picture(seed) for seed in range(40)])
    warped = augment.apply(pictures, *augment.draw(np.random.default_rng(0), 40, ranges, SIZE))
    same = np.array([np.allclose(left, right, atol=1e-3) for left, right in zip(warped, pictures, strict=True)])
    np.testing.assert_allclose(warped[~same], pictures[~same, :, ::-1], atol=1e-3)
    assert 10 < same.sum() < 30


def test_a_channel_shift_stays_within_the_pictures_own_range(no_augmentation):
    draws = augment.draw(np.random.default_rng(0), 2, no_augmentation, SIZE)[0]
    pictures = np.stack([picture(0), picture(1)])
    warped = augment.apply(pictures, draws, np.array([15.0, -15.0], "float32"))
    low, high = pictures.min(axis=(1, 2, 3), keepdims=True), pictures.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(warped, np.clip(pictures + np.reshape([15, -15], (2, 1, 1, 1)), low, high), atol=1e-4)


def test_a_contents_views_do_not_depend_on_the_others():
    contents = [f"{number:064x}" for number in (3 << 200, 5 << 200, 7 << 200)]
    together = augmented_views.draw_views(contents, 2, ARTICLE, SIZE, seed=1)
    for index, content in enumerate(contents):
        alone = augmented_views.draw_views([content], 2, ARTICLE, SIZE, seed=1)
        np.testing.assert_array_equal(together[0][index], alone[0][0])
        assert together[1][index] == alone[1][0]
    kinds = [
        together,
        *(augmented_views.draw_views(contents, view, ARTICLE, SIZE, seed) for view, seed in ((1, 1), (2, 2))),
    ]
    assert len(np.unique(np.concatenate([channel for _, channel in kinds]))) == 9  # by content, view and seed
