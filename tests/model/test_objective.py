import keras
import numpy as np
import pytest

from pipeline.model import objective
from pipeline.model.schedule import ByBatch

X = np.random.default_rng(0).normal(size=(8, 4)).astype("f")
Y = np.random.default_rng(1).integers(0, 3, 8)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", use_bias=False)(inputs))


@pytest.mark.parametrize(("name", "kind"), [("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam)])
def test_the_optimizer_is_the_named_one(model, name, kind):
    objective.compile_model(model, 0.03, name, 0.8)
    assert isinstance(model.optimizer, kind)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
    assert name == "adam" or model.optimizer.momentum == 0.8


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_spreads_a_share_over_all_classes(model, smoothing):
    objective.compile_model(model, 0.1, "sgd", 0.0, label_smoothing=smoothing)
    answers = model(X).numpy()
    target = (1 - smoothing) * np.eye(3)[Y] + smoothing / 3
    expected = -(target * np.log(answers)).sum(axis=1).mean()
    assert model.train_on_batch(X, Y) == pytest.approx(expected, rel=1e-5)


def test_weights_count_with_and_without_smoothing(model):
    weight = np.linspace(0, 2, 8).astype("f")
    for smoothing in (0.0, 0.2):
        objective.compile_model(model, 1e-12, "sgd", 0.0, label_smoothing=smoothing)
        target = (1 - smoothing) * np.eye(3)[Y] + smoothing / 3
        expected = (weight * -(target * np.log(model(X).numpy())).sum(axis=1)).sum() / 8
        assert model.train_on_batch(X, Y, sample_weight=weight) == pytest.approx(expected, rel=1e-5)


def step(model, **options) -> np.ndarray:
    before = model.get_weights()[0]
    objective.compile_model(model, 1.0, "sgd", 0.0, **options)
    model.train_on_batch(100 * X, Y)
    return before - model.get_weights()[0]


def test_the_norm_of_all_gradients_is_clipped(model):
    weights = model.get_weights()
    free = step(model)
    model.set_weights(weights)
    clipped = step(model, clip_norm=0.5)
    assert np.linalg.norm(free) > 5
    assert np.linalg.norm(clipped) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(clipped / 0.5, free / np.linalg.norm(free), atol=1e-4)


def test_a_batch_in_parts_steps_as_a_whole_one_and_at_the_same_rate(model):
    decay = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    start, ends = model.get_weights(), []
    for parts in (1, 2, 4):
        model.set_weights(start)
        objective.compile_model(model, decay, "sgd", 0.9, parts=parts)
        for _ in range(3):
            for part in np.array_split(np.arange(8), parts):
                model.train_on_batch(X[part], Y[part])
        ends.append(model.get_weights()[0])
        assert float(model.optimizer.learning_rate) == pytest.approx(0.5 * 0.5**3)
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)
    np.testing.assert_allclose(ends[2], ends[0], atol=1e-6)
    assert np.abs(ends[0] - start[0]).max() > 0.1


def test_a_rate_by_batch_can_be_saved():
    schedule = ByBatch(keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5), 2)
    assert schedule.get_config()["parts"] == 2
    assert [float(schedule(step)) for step in range(4)] == pytest.approx([0.5, 0.5, 0.25, 0.25])


def test_a_scaled_loss_gives_the_same_step_and_skips_what_overflows(model):
    weights = model.get_weights()
    plain = step(model)
    model.set_weights(weights)
    scaled = step(model, loss_scaling=True)
    np.testing.assert_allclose(scaled, plain, rtol=1e-3)
    before, scale = model.get_weights()[0], float(model.optimizer.dynamic_scale)
    model.train_on_batch(np.full_like(X, np.inf), Y)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert float(model.optimizer.dynamic_scale) == scale / 2
