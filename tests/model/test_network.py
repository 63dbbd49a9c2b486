import json
import re
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model import backbone, network, objective

pytestmark = pytest.mark.untraced


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


def test_the_head_on_inception_has_the_articles_number_of_weights(params):
    wanted = (2048 * 256 + 256) + (256 * 128 + 128) + (128 * 5 + 5)
    assert network.head(2048, 5, params.train, seed=7).count_params() == wanted == 558_085


def test_initial_weights_have_the_articles_distributions(params):
    wide = network.head(1280, 500, params.train, seed=7)  # enough classes to see a distribution
    _, first, _, second, _, last = wide.layers
    for layer, fan_in in ((first, 1280), (second, 256)):
        kernel = layer.kernel.numpy()
        std = np.sqrt(2 / fan_in)  # He et al. 2015, eq. 10
        assert kernel.std() == pytest.approx(std, rel=0.01)
        assert abs(kernel.mean()) < 0.02 * std
        cut = 2 * std / 0.8796  # a normal cut at two of its deviations keeps 0.8796 of its deviation
        assert 0.99 * cut < abs(kernel).max() <= cut * 1.0001
    kernel = last.kernel.numpy()
    bound = np.sqrt(6 / (128 + 500))  # Glorot & Bengio 2010, eq. 16
    assert 0.99 * bound < kernel.max() <= bound
    assert 0.99 * bound < -kernel.min() <= bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)  # as many everywhere between
    assert all(not layer.bias.numpy().any() for layer in (first, second, last))


def by_hand(head, features: np.ndarray) -> np.ndarray:
    """The head's output without dropout, in numpy."""
    first, second, last = ((head.layers[k].kernel.numpy(), head.layers[k].bias.numpy()) for k in (1, 3, 5))
    hidden = np.maximum(features @ first[0] + first[1], 0)
    hidden = np.maximum(hidden @ second[0] + second[1], 0)
    powers = np.exp(hidden @ last[0] + last[1])
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def features():
    return np.random.default_rng(0).uniform(0, 2, (6, 1280)).astype("float32")


def test_l2_is_on_the_first_layer_alone(head, params, features):
    labels = np.arange(6) % 5
    penalty = params.train.l2 * np.square(head.layers[1].kernel.numpy(), dtype="float64").sum()
    assert [float(loss) for loss in head.losses] == [pytest.approx(penalty, rel=1e-5)]
    objective.compile_model(head, 0.01, "sgd", 0.9)
    cross_entropy = -np.log(by_hand(head, features)[np.arange(6), labels]).mean()
    assert head.test_on_batch(features, labels) == pytest.approx(cross_entropy + penalty, rel=1e-4)


def test_dropout_is_active_in_training_alone(head, params, features):
    for layer, rate in zip((head.layers[2], head.layers[4]), params.train.dropout, strict=True):
        ones = np.ones((100, 1000), "float32")
        dropped = np.array(layer(ones, training=True))
        assert (dropped == 0).mean() == pytest.approx(rate, abs=0.01)
        np.testing.assert_allclose(dropped[dropped > 0], 1 / (1 - rate), rtol=1e-6)  # the mean stays
        np.testing.assert_array_equal(layer(ones, training=False), ones)
    for answer in (head(features), head(features, training=False), head.predict(features, verbose=0)):
        np.testing.assert_allclose(answer, by_hand(head, features), atol=1e-5)
    first, second = (np.array(head(features, training=True)) for _ in range(2))
    assert abs(first - second).max() > 0.01


@pytest.mark.parametrize(("rescaling", "ends"), [(None, (-1, 1)), ("symmetric", (-1, 1)), ("unit", (0, 1))])
def test_the_embedder_rescales_and_averages(backbone_params, weights_file, rescaling, ends):
    embed = network.embedder(backbone_params(weights=str(weights_file), rescaling=rescaling, size=64))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    maps = embed.get_layer(backbone.NAME)(np.interp(pixels, (0, 255), ends).astype("float32"), training=False)
    assert maps.shape == (2, 2, 2, 1280)
    np.testing.assert_allclose(embed(pixels), np.mean(maps, axis=(1, 2)), atol=2e-3)  # of about 1; float32 rescaling


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
    objective.compile_model(model, 0.01, "adam", 0.9)
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


def test_a_model_is_the_same_bytes_whenever_it_is_saved(parts, tmp_path):
    model = network.classifier(*parts)
    network.save(model, tmp_path / "a.keras")
    time.sleep(2.1)  # a zip's dates count by two seconds
    network.save(model, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_objects_that_layers_share_are_known_by_numbers_and_not_by_addresses_in_memory(tmp_path):
    policies = [keras.DTypePolicy("float32"), keras.DTypePolicy("bfloat16")]
    inputs = keras.Input((4,))
    outputs = inputs
    for policy in [*policies, *policies]:
        outputs = keras.layers.Dense(4, dtype=policy)(outputs)
    model = keras.Model(inputs, outputs)
    network.save(model, tmp_path / "model.keras")
    config = zipfile.ZipFile(tmp_path / "model.keras").read("config.json").decode()
    assert set(re.findall(r'"shared_object_id": (\d+)', config)) == {"0", "1"}
    again = network.load(tmp_path / "model.keras")
    assert [layer.dtype_policy.name for layer in again.layers[1:]] == ["float32", "bfloat16"] * 2


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


def test_a_damaged_model_is_named_with_the_way_out(tmp_path):
    inputs = keras.Input((2,))
    path = tmp_path / "model.keras"
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"rubbish"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="dvc repro") as caught:
            network.load(path)
        assert str(caught.value).startswith(str(path))
    for absent in (tmp_path, tmp_path / "absent.keras"):
        with pytest.raises(UserError, match="dvc repro"):
            network.load(absent)
