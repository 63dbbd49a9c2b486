"""pipeline.model_import.layers_model: TensorFlow.js layers models, as nsfwjs has them."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model_import import layers_model
from pipeline.model_import import tfjs_weights as read
from pipeline.model_import.inspection import ModelInfo
from tests.support.foreign_models import SIZE, network, pixels, save_tfjs

pytestmark = pytest.mark.untraced

LIMIT = 2**20


def config(document: dict, name: str) -> dict:
    layers = document["modelTopology"]["model_config"]["config"]["layers"]
    return next(layer for layer in layers if layer["name"] == name)


def option(layer: str, **values):
    return lambda document: config(document, layer)["config"].update(values)


def kind(layer: str, name: str):
    return lambda document: config(document, layer).update(class_name=name)


def nested(document):
    config(document, "stem")["config"]["layers"][3]["class_name"] = "Lambda"


def shard(name):
    return lambda document: document["weightsManifest"][0].update(paths=[name])


def first_shape(*sizes):
    return lambda document: document["weightsManifest"][0]["weights"][0].update(shape=list(sizes))


BAD = {
    "Lambda": (kind("act", "Lambda"), "is a Lambda"),
    "nested Lambda": (nested, "is a Lambda"),
    "custom layer": (kind("act", "Theirs"), "is a Theirs"),
    "option of unknown meaning": (option("dense_1", kernel_hook="evil"), "option 'kernel_hook'"),
    "dilated groups": (option("depthwise", groups=2), "option 'groups'"),
    "activation": (option("act", activation="evil"), "activation 'evil'"),
    "channels first": (option("pool", data_format="channels_first"), "channels first"),
    "units": (option("dense_1", units=10**9), "above 65,536"),
    "layer's name": (lambda document: config(document, "dense_1").update(name="../evil"), r"name '\.\./evil'"),
    "no layers": (lambda document: document["modelTopology"]["model_config"]["config"].pop("layers"), "list of layers"),
    "no topology": (lambda document: document.pop("modelTopology"), "no layers model"),
    "graph model": (lambda document: document.update(format="graph-model"), "describes no graph"),
    "grey pictures": (option("picture", batch_input_shape=[None, 32, 32, 1]), "not that of square RGB"),
    "two outputs": (
        lambda d: d["modelTopology"]["model_config"]["config"].update(output_layers=[["drop", 0, 0], ["act", 0, 0]]),
        "2 outputs",
    ),
    "shard outside": (shard("../secret.bin"), "shard name"),
    "absolute shard": (shard("/etc/passwd"), "shard name"),
    "missing shard": (shard("absent.bin"), "does not exist"),
    "shard too short": (first_shape(6, 6, 60), "cut short"),
    "shard too long": (first_shape(1, 1, 1), "another model's"),
    "negative shape": (first_shape(-1, 3), "has the shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason_before_anything_is_built(name, tmp_path, nothing_loads):
    edit, reason = BAD[name]
    folder = tmp_path / "theirs"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    path = save_tfjs(folder, edit=edit)
    with nothing_loads(), pytest.raises(UserError, match=reason) as refusal:
        layers_model.inspect(path, LIMIT)
    assert "theirs" in str(refusal.value)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = save_tfjs(tmp_path)
    path.write_text(path.read_text()[:-10])
    with pytest.raises(UserError, match="not valid JSON"):
        layers_model.inspect(path, LIMIT)


def test_the_size_limit_is_that_of_the_shards(tmp_path):
    path = save_tfjs(tmp_path, network(classes=2000))
    with pytest.raises(UserError, match=r"its shards have .* and the limit is"):
        layers_model.inspect(path, path.stat().st_size)


def test_a_sound_model_comes_out_the_same(tmp_path, nothing_loads):
    """A model in the model, a branch, every kind of convolution."""
    model = network()
    path = save_tfjs(tmp_path, model)
    with nothing_loads():
        assert layers_model.inspect(path, LIMIT) == ModelInfo("tfjs", SIZE, 3)
    batch = pixels().astype(np.float32) / 255
    answer = layers_model.build(path, LIMIT).predict(batch, verbose=0)
    assert np.ptp(answer) > 0.1
    np.testing.assert_allclose(answer, model.predict(batch, verbose=0), atol=1e-6)


def test_a_sequential_model_and_one_called_twice_come_out_the_same(tmp_path):
    keras.utils.set_random_seed(1)
    twice = keras.layers.Dense(27, activation="tanh", name="twice")
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.MaxPooling2D(10, name="pool"),
            keras.layers.Reshape((27,), name="row"),
            twice,
            keras.layers.Dense(4, name="out"),
            keras.layers.Softmax(name="softmax"),
        ],
        name="plain",
    )
    batch = pixels().astype(np.float32) / 255
    built = layers_model.build(save_tfjs(tmp_path, model), LIMIT)
    np.testing.assert_allclose(built.predict(batch, verbose=0), model.predict(batch, verbose=0), atol=1e-6)

    def shared(document):
        layers = document["modelTopology"]["model_config"]["config"]["layers"]
        names = ["input", "pool", "row", "twice", "out", "softmax"]
        start = {"class_name": "InputLayer", "config": {"name": "input", "batch_input_shape": [None, SIZE, SIZE, 3]}}
        layers.insert(0, start)
        for name, before, layer in zip(names, ["", *names], layers, strict=False):
            layer |= {"name": name, "inbound_nodes": [[[before, 0, 0, {}]]] if before else []}
        layers[3]["inbound_nodes"].append([["twice", 0, 0, {}]])
        layers[4]["inbound_nodes"] = [[["twice", 1, 0, {}]]]
        ends = {"input_layers": [["input", 0, 0]], "output_layers": [["softmax", 0, 0]]}
        document["modelTopology"]["model_config"] = {"class_name": "Model", "config": {"layers": layers, **ends}}

    (tmp_path / "shared").mkdir()
    built = layers_model.build(save_tfjs(tmp_path / "shared", model, shared), LIMIT)
    inner = twice(twice(keras.ops.reshape(keras.layers.MaxPooling2D(10)(batch), (-1, 27))))
    wanted = keras.ops.softmax(model.get_layer("out")(inner))
    np.testing.assert_allclose(built.predict(batch, verbose=0), np.asarray(wanted), atol=1e-6)


def test_nsfwjs_network_comes_out_the_same(tmp_path):
    """MobileNetV2, whose weights pipeline.model_import.tfjs_weights finds by name."""
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35, classes=5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.random.default_rng(1).uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    path = save_tfjs(tmp_path, model)
    batch = pixels().astype(np.float32) / 255
    built = layers_model.build(path, 2**24)
    assert layers_model.inspect(path, 2**24) == ModelInfo("tfjs", SIZE, 5)
    np.testing.assert_allclose(built.predict(batch, verbose=0), model.predict(batch, verbose=0), atol=1e-6)
    other = read.mobilenet_v2_backbone(read.read_weights(path), 0.35, SIZE)
    assert np.array_equal(other.get_layer("Conv_1").kernel, built.get_layer("Conv_1").kernel)


def edit_entry(path: Path, entry_name: str, **values) -> Path:
    document = json.loads(path.read_text())
    entry = next(entry for entry in document["weightsManifest"][0]["weights"] if entry["name"] == entry_name)
    entry.update(values)
    path.write_text(json.dumps(document))
    return path


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = edit_entry(save_tfjs(tmp_path), "dense_1/bias", name="dense_9/bias")
    with pytest.raises(UserError, match=r"dense_1/bias should be \(8,\), and is nothing"):
        layers_model.build(path, LIMIT)
    path = edit_entry(save_tfjs(tmp_path), "dense_2/kernel", shape=[3, 8])
    with pytest.raises(UserError, match=r"dense_2/kernel should be \(8, 3\), and is \(3, 8\)"):
        layers_model.build(path, LIMIT)


def test_weights_without_a_layer_are_named(tmp_path):
    def spare(document):
        document["weightsManifest"][0]["weights"].append({"name": "spare/kernel", "shape": [0], "dtype": "float32"})

    with pytest.raises(UserError, match="no layer takes: spare/kernel"):
        layers_model.build(save_tfjs(tmp_path, edit=spare), LIMIT)


def test_layers_that_do_not_fit_together_are_a_users_error(tmp_path):
    with pytest.raises(UserError, match="do not fit together"):
        layers_model.build(save_tfjs(tmp_path, edit=option("pool", pool_size=[99, 99])), LIMIT)
