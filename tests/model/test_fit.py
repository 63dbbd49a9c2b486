import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.model import fit


@pytest.fixture
def model():
    inputs = keras.Input((4,))
    made = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    fit.compile_model(made, 0.1, "sgd", 0.9)
    return made


def training(_epoch):
    rng = np.random.default_rng(0)
    return tf.data.Dataset.from_tensor_slices((rng.normal(size=(8, 4)), rng.integers(0, 3, 8))).batch(4)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.2, 1.0), (0.9, 1.0), (0.5, 0.1)], 1),
        ([(0.9, 1.0), (0.9, 0.5), (0.9, 0.7)], 1),  # equal recall: the lower loss
        ([(0.5, 1.0), (0.5, 1.0)], 0),  # equal in all: the earlier
        ([(0.1, 1.0), (0.2, 2.0)], 1),
    ],
)
def test_the_best_epoch_is_kept_and_every_one_reported(model, scores, best):
    reported, weights = [], []

    def validate(trained):
        weights.append(trained.get_weights())
        recall, loss = scores[len(weights) - 1]
        return {"val_macro_recall": recall, "val_loss": loss}

    found = fit.fit(
        model, len(scores), training, validate, lambda epoch, metrics: reported.append((epoch, dict(metrics))), name=""
    )
    assert [epoch for epoch, _ in reported] == list(range(len(scores)))
    assert [(line["val_macro_recall"], line["val_loss"]) for _, line in reported] == scores
    assert all(line["learning_rate"] == pytest.approx(0.1) and line["loss"] > 0 for _, line in reported)
    assert found == {**reported[best][1], "epoch": best}
    for kept, wanted in zip(model.get_weights(), weights[best], strict=True):
        np.testing.assert_array_equal(kept, wanted)
    assert not np.array_equal(weights[0][0], weights[-1][0])


def test_each_epoch_gets_its_own_pictures(model):
    asked = []
    score = {"val_macro_recall": 1.0, "val_loss": 1.0}
    fit.fit(model, 3, lambda epoch: asked.append(epoch) or training(epoch), lambda _: score, lambda *_: None, name="")
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(("name", "kind"), [("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam)])
def test_the_optimizer_is_the_named_one(model, name, kind):
    fit.compile_model(model, 0.03, name, 0.8)
    assert isinstance(model.optimizer, kind)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
    assert name == "adam" or model.optimizer.momentum == 0.8
