import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from pipeline.model import backbone, fit, network


@pytest.fixture(scope="module")
def head(params):
    return network.head(1280, 5, params.train, seed=7)


@pytest.fixture(scope="module")
def parts(backbone_params, params, weights_file):
    embed = network.embedder(backbone_params(weights=str(weights_file)))
    return embed, network.head(1280, 3, params.train, seed=1)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")


def test_the_head_is_the_articles(head, params):
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["InputLayer", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    _, first, drop_first, second, drop_second, last = head.layers
    assert [layer.units for layer in (first, second, last)] == [256, 128, 5]
    assert [layer.activation.__name__ for layer in (first, second, last)] == ["relu", "relu", "softmax"]
    initialisers = [type(layer.kernel_initializer).__name__ for layer in (first, second, last)]
    assert initialisers == ["HeNormal", "HeNormal", "GlorotUniform"]
    assert float(first.kernel_regularizer.l2) == pytest.approx(params.train.l2)
    assert second.kernel_regularizer is last.kernel_regularizer is None
    assert (drop_first.rate, drop_second.rate) == params.train.dropout


def test_a_seed_is_a_head(params):
    kernels = [network.head(20, 3, params.train, seed).get_weights() for seed in (1, 1, 2)]
    assert all(np.array_equal(left, right) for left, right in zip(kernels[0], kernels[1], strict=True))
    assert not np.array_equal(kernels[0][0], kernels[2][0])
    assert not np.array_equal(kernels[0][0][:, :10], kernels[0][2][:20, :10])  # nor do its layers share one


def test_the_classifier_is_its_parts_in_order(parts, pictures):
    embed, top = parts
    model = network.classifier(embed, top)
    features = embed.get_layer(backbone.NAME)(pictures / 127.5 - 1, training=False)
    by_hand = top(np.mean(features, axis=(1, 2)), training=False)
    answer = model(pictures, training=False)
    np.testing.assert_allclose(answer, by_hand, atol=1e-4)  # order of additions
    np.testing.assert_allclose(np.sum(answer, axis=1), 1.0, atol=1e-5)
    assert not embed.trainable_weights


def test_a_model_comes_back_as_it_was_without_its_optimizer(parts, pictures, tmp_path):
    model = network.classifier(*parts)
    fit.compile_model(model, 0.01, "adam", 0.9)
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "model.keras"
    network.save(model, path)
    again = network.load(path)
    np.testing.assert_array_equal(again(pictures, training=False), model(pictures, training=False))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights, h5py.File(weights) as stored:
        assert "optimizer" not in stored
        assert not json.loads(archive.read("config.json"))["compile_config"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    def half(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "model.keras"
    path.write_bytes(b"before")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    monkeypatch.setattr(keras.Model, "save", half)
    with pytest.raises(OSError, match="No space"):
        network.save(model, path)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
