"""Harmful .keras files are refused with the reason; conftest's fixture fails a test that loads anything."""

import pickle
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.core.errors import UserError
from pipeline.model_import import keras_file
from pipeline.model_import.inspection import ModelInfo
from tests.support.foreign_models import SIZE, edit_config, edit_weights, network, rewrite, save_keras

pytestmark = pytest.mark.untraced

LIMIT = 64 * 2**20
WEIGHT = "layers/dense/vars/0"


@keras.saving.register_keras_serializable("theirs")
class Custom(keras.layers.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("theirs")
def custom_activation(x):
    return x


def with_layer(layer, nested: bool = False):
    """Make a model with one more layer; with `nested`, in a model inside the model."""

    def make(folder: Path) -> Path:
        inputs = keras.Input((SIZE, SIZE, 3))
        inner = keras.Sequential([keras.Sequential([layer], name="deep")], name="shallow") if nested else layer
        features = keras.layers.GlobalAveragePooling2D()(inner(inputs))
        return save_keras(folder, keras.Model(inputs, keras.layers.Dense(3, "softmax")(features)))

    return make


def edited(edit):
    return lambda folder: edit_config(save_keras(folder), edit)


def weights(edit):
    return lambda folder: edit_weights(save_keras(folder), edit)


def dense(config: dict) -> dict:
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")


def file_of(content: bytes, name: str = "theirs.keras"):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def truncated(folder: Path) -> Path:
    path = save_keras(folder)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def member(name: str, content: bytes = b"x"):
    return lambda folder: rewrite(save_keras(folder), lambda members: members.update({name: content}))


def link(folder: Path) -> Path:
    path = save_keras(folder)
    info = zipfile.ZipInfo("model.weights.h5.link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def twice(folder: Path) -> Path:
    path = save_keras(folder)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    return path


def bomb(folder: Path) -> Path:
    def inflate(members: dict[str, bytes]) -> None:
        members["model.weights.h5"] = bytes(20 * 2**20)

    return rewrite(save_keras(folder), inflate, zipfile.ZIP_DEFLATED)


def cut_weights(folder: Path) -> Path:
    def cut(members: dict[str, bytes]) -> None:
        members["model.weights.h5"] = members["model.weights.h5"][:2000]

    return rewrite(save_keras(folder), cut)


def outside(file: h5py.File) -> None:
    del file[WEIGHT]
    file[WEIGHT] = h5py.ExternalLink("/etc/secret.h5", "/x")


def soft(file: h5py.File) -> None:
    file["layers/again"] = h5py.SoftLink("/layers/dense")


def circle(file: h5py.File) -> None:
    file["layers/circle"] = file["layers"]


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/secret.h5", "x", (4,))
    file.create_virtual_dataset("layers/virtual", layout)


def stored_outside(file: h5py.File) -> None:
    file.create_dataset("layers/stored", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def huge(file: h5py.File) -> None:
    file.create_dataset("layers/huge", (2**40,), "f4", chunks=(2**20,))


def texts(file: h5py.File) -> None:
    file["layers/texts"] = "import os"


def other_filter(file: h5py.File) -> None:
    file.create_dataset("layers/packed", data=np.zeros(100, "i4"), chunks=(50,), scaleoffset=2)


BAD = {
    "pickle": (file_of(pickle.dumps({"model": 1})), "a Python pickle"),
    "Keras 2's HDF5": (file_of(b"\x89HDF\r\n\x1a\n" + bytes(99)), "no HDF5 file"),
    "no zip": (file_of(b"rubbish" * 99), "no zip archive"),
    "empty": (file_of(b""), "no zip archive"),
    "truncated": (truncated, "cut short or broken"),
    "path traversal": (member("../../evil.py"), "leads out of it"),
    "absolute path": (member("/etc/cron.d/evil"), "leads out of it"),
    "Windows path": (member("..\\evil.py"), "leads out of it"),
    "link": (link, "holds a link"),
    "name twice": (twice, "holds a name twice"),
    "more members": (member("assets/code.py"), r"assets/code\.py"),
    "zip bomb": (bomb, "zip bomb"),
    "config is no JSON": (member("config.json", b"{"), "not valid JSON"),
    "config nests without end": (member("config.json", b"[" * 200_000), "JSON|zip"),
    "Lambda": (with_layer(keras.layers.Lambda(lambda x: x)), "holds a Lambda: it is Python code"),
    "nested Lambda": (with_layer(keras.layers.Lambda(lambda x: x), nested=True), "holds a Lambda"),
    "custom class": (with_layer(Custom()), "theirs>Custom"),
    "nested custom class": (with_layer(Custom(), nested=True), "theirs>Custom"),
    "custom activation": (with_layer(keras.layers.Activation(custom_activation)), "holds a function"),
    "TFSMLayer": (edited(lambda config: dense(config).update(class_name="TFSMLayer")), "holds a TFSMLayer"),
    "other module": (edited(lambda config: dense(config).update(module="os", class_name="system")), r"os\.system"),
    "Keras' own functions": (
        edited(lambda c: dense(c).update(module="keras.utils", class_name="get_file")),
        "get_file",
    ),
    "class in an option": (
        edited(lambda c: dense(c)["config"].update(activation={"class_name": "__lambda__", "config": {}})),
        "holds a __lambda__",
    ),
    "class name is a list": (
        edited(lambda config: dense(config).update(class_name=["Dense"])),
        "not on the list of accepted layers",
    ),
    "layer of texts": (edited(lambda config: dense(config).update(class_name="StringLookup")), "StringLookup"),
    "units": (edited(lambda config: dense(config)["config"].update(units=10**9)), "units 1000000000"),
    "no layers": (edited(lambda config: config["config"].pop("layers")), "no model with one input"),
    "two outputs": (
        edited(lambda c: c["config"].update(output_layers=[["drop", 0, 0], ["dense_2", 0, 0]])),
        "2 outputs",
    ),
    "no pictures": (
        edited(lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, 32, 32, 1])),
        "not that of square RGB pictures",
    ),
    "not square": (
        edited(lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, 32, 64, 3])),
        "not that of square RGB pictures",
    ),
    "weights cut": (cut_weights, "cut short or no HDF5"),
    "external link": (weights(outside), "is a link, which may lead to any file"),
    "soft link": (weights(soft), "is a link"),
    "circle": (weights(circle), "under another name, too"),
    "virtual dataset": (weights(virtual), "values in other files"),
    "external storage": (weights(stored_outside), "values in other files"),
    "huge dataset": (weights(huge), "the limit is"),
    "texts": (weights(texts), "not numbers"),
    "other filter": (weights(other_filter), "not HDF5's own"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason_before_anything_is_loaded(name, tmp_path, nothing_loads):
    make, reason = BAD[name]
    path = make(tmp_path)
    with nothing_loads(), pytest.raises(UserError, match=reason) as refusal:
        keras_file.inspect(path, LIMIT)
    assert path.name in str(refusal.value)


def test_the_size_limit_is_that_of_the_file(tmp_path, nothing_loads):
    path = save_keras(tmp_path)
    with nothing_loads(), pytest.raises(UserError, match="--max-mb"):
        keras_file.inspect(path, 1000)


def test_sound_files_are_let_in_with_their_shapes(tmp_path, nothing_loads):
    path = save_keras(tmp_path, network(classes=4, size=48))
    with nothing_loads():
        assert keras_file.inspect(path, LIMIT) == ModelInfo("keras", 48, 4)


def test_keras_own_networks_and_compiled_ones_are_let_in(tmp_path):
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), alpha=0.35)
    base.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    inputs = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()(base(keras.layers.RandomFlip()(inputs) / 127.5 - 1.0))
    outputs = keras.layers.Activation("softmax")(keras.layers.Dense(5, kernel_regularizer="l2")(features))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "categorical_crossentropy")
    assert keras_file.inspect(save_keras(tmp_path, model), LIMIT) == ModelInfo("keras", SIZE, 5)


def test_a_size_that_is_left_open_is_none(tmp_path):
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.GlobalMaxPooling2D()(inputs))
    assert keras_file.inspect(save_keras(tmp_path, keras.Model(inputs, outputs)), LIMIT) == ModelInfo("keras", None, 3)


def preprocessed(folder: Path, constant) -> Path:
    """A model that reverses the channels and takes a constant off each."""
    inputs = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()((inputs[..., ::-1] - constant) / 127.5)
    return save_keras(folder, keras.Model(inputs, keras.layers.Dense(3, "softmax")(features)))


@pytest.mark.parametrize("constant", [np.float32([104, 117, 123]), tf.constant([104.0, 117.0, 123.0]), 117.0])
def test_preprocessing_with_plain_constants_is_accepted_and_loads(constant, tmp_path):
    path = preprocessed(tmp_path, constant)
    assert keras_file.inspect(path, LIMIT) == ModelInfo("keras", SIZE, 3)
    keras.saving.load_model(path, safe_mode=True, compile=False)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"value": [1.0] * 5000, "dtype": "float32"}, "more than 4096 numbers"),
        ({"value": ["a"], "dtype": "float32"}, "no list of numbers"),
        ({"value": {"class_name": "Lambda"}, "dtype": "float32"}, "no list of numbers|Lambda"),
        ({"value": [1.0], "dtype": "object"}, "of dtype object"),
        (None, "no list of numbers"),
    ],
)
def test_a_constant_is_a_few_plain_numbers(config, reason, tmp_path, nothing_loads):
    def edit(document):
        subtract = next(layer for layer in document["config"]["layers"] if layer["class_name"] == "Subtract")
        subtract["inbound_nodes"][0]["args"][1]["config"] = config

    path = edit_config(preprocessed(tmp_path, np.float32([104, 117, 123])), edit)
    with nothing_loads(), pytest.raises(UserError, match=reason):
        keras_file.inspect(path, LIMIT)
