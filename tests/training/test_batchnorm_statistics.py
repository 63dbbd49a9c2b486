import keras
import numpy as np
import pytest

from pipeline.model import backbone
from pipeline.training import batchnorm_statistics
from pipeline.training.batches import Source
from pipeline.training.batchnorm_statistics import BatchnormStatistics

SIZE = 4


def classifier(*, trainable: bool = True):
    """Two layers of batch normalization, the first over the pixels themselves, and a head with dropout."""
    inner = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.BatchNormalization(name="first")(inner)
    x = keras.layers.BatchNormalization(name="second")(keras.layers.Conv2D(2, 3, activation="relu")(x))
    base = keras.Model(inner, x, name=backbone.NAME)
    for name in ("first", "second"):
        base.get_layer(name).trainable = trainable
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    features = keras.layers.Dropout(0.5, seed=1)(keras.layers.Flatten()(base(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))


def source(pictures: int) -> Source:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (pictures, SIZE, SIZE, 3)).astype("uint8")
    pixels[..., 1] //= 4
    return Source((), pictures, SIZE, (pixels, rng.integers(0, 3, pictures)))


def norm(model, name="first"):
    return model.get_layer(backbone.NAME).get_layer(name)


def statistics(model) -> list[np.ndarray]:
    return [value.numpy() for name in ("first", "second") for value in (norm(model, name).moving_mean,
                                                                       norm(model, name).moving_variance)]  # fmt: skip


def test_the_statistics_become_those_of_the_pictures():
    model, train = classifier(), source(64)
    BatchnormStatistics(model, train, 32, seed=1).estimate(0)
    pixels = train.decoded[0].astype("float64")
    layer = norm(model)
    assert layer.moving_mean.numpy() == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-5)
    assert layer.moving_variance.numpy() == pytest.approx(pixels.var((0, 1, 2)), rel=0.01)  # of batches, on average
    features = keras.Model(model.inputs, model.get_layer(backbone.NAME)(model.inputs[0]))(
        pixels, training=False
    ).numpy()
    assert features.mean((0, 1, 2)) == pytest.approx(0, abs=0.02)  # normalized at both layers, outside training too
    assert features.var((0, 1, 2)) == pytest.approx(1, abs=0.05)


def test_nothing_else_changes():
    model = classifier()
    known = {id(variable) for name in ("first", "second") for variable in
             (norm(model, name).moving_mean, norm(model, name).moving_variance)}  # fmt: skip
    others = [variable for variable in model.variables if id(variable) not in known]
    before = [variable.numpy() for variable in others]
    BatchnormStatistics(model, source(16), 8, seed=1).estimate(0)
    assert all(np.array_equal(left, right.numpy()) for left, right in zip(before, others, strict=True))
    assert [norm(model, name).momentum for name in ("first", "second")] == [0.99, 0.99]


def test_frozen_layers_keep_theirs():
    model = classifier(trainable=False)
    before = statistics(model)
    BatchnormStatistics(model, source(16), 8, seed=1).estimate(0)
    assert all(np.array_equal(left, right) for left, right in zip(before, statistics(model), strict=True))


def test_of_many_pictures_a_sample_is_drawn_by_seed_and_epoch(monkeypatch):
    monkeypatch.setattr(batchnorm_statistics, "PICTURES", 16)

    def estimate(seed: int, epoch: int) -> bytes:
        keras.utils.set_random_seed(1)
        model = classifier()
        BatchnormStatistics(model, source(64), 8, seed).estimate(epoch)
        return b"".join(value.tobytes() for value in statistics(model))

    first = estimate(1, 0)
    assert estimate(1, 0) == first
    assert len({first, estimate(1, 1), estimate(2, 0)}) == 3


@pytest.mark.parametrize(("pictures", "batch_size"), [(5, 32), (33, 32), (1, 1)])
def test_few_pictures_are_one_batch(pictures, batch_size):
    model = classifier()
    BatchnormStatistics(model, source(pictures), batch_size, seed=1).estimate(0)
    assert all(np.isfinite(value).all() for value in statistics(model))
    assert norm(model).moving_mean.numpy().max() > 50
