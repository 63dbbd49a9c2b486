"""pipeline.model_import.keras2_file: whole models of Keras 2 in HDF5, and its .keras archives."""

import base64
import json
import marshal
import zipfile

import h5py
import keras
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.model_import import keras2_file, keras_file
from pipeline.model_import.inspection import ModelInfo
from tests.support.foreign_models import (
    SIZE,
    edit_weights,
    network,
    pixels,
    preprocessed,
    rewrite,
    save_keras2_archive,
    save_keras2_h5,
)

LIMIT = 2**20


def answer(path, batch):
    return keras2_file.build(path, LIMIT).predict(batch, verbose=0)


@pytest.mark.parametrize(
    "save", [save_keras2_h5, save_keras2_archive, lambda folder: save_keras2_archive(folder, by="\\")]
)
def test_a_sound_model_comes_out_the_same_and_its_training_is_left_alone(save, tmp_path, nothing_loads):
    path = save(tmp_path)
    with nothing_loads():
        assert keras_file.inspect(path, LIMIT) == ModelInfo("keras_2", SIZE, 3)
    batch = pixels().astype(np.float32) / 255
    wanted = network().predict(batch, verbose=0)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(answer(path, batch), wanted, atol=1e-6)


def test_before_tensorflow_2_12_a_keras_file_was_hdf5(tmp_path, nothing_loads):
    path = save_keras2_h5(tmp_path).rename(tmp_path / "theirs.keras")
    with nothing_loads():
        assert keras_file.inspect(path, LIMIT) == ModelInfo("keras_2", SIZE, 3)


def test_weights_whose_names_an_old_session_made_unique_find_their_layers(tmp_path):
    def renamed(file):
        weights = file["model_weights"]
        weights.move("dense_1/dense_1", "dense_1/dense_1_1")
        weights.move("stem/conv", "stem/conv_2")

    batch = pixels().astype(np.float32) / 255
    path = save_keras2_h5(tmp_path, change=renamed)
    np.testing.assert_allclose(answer(path, batch), network().predict(batch, verbose=0), atol=1e-6)


def test_a_weight_of_no_layer_is_named(tmp_path):
    path = save_keras2_h5(tmp_path, change=lambda file: file["model_weights"].create_dataset("spare/x:0", data=[1.0]))
    with pytest.raises(UserError, match="no layer takes: spare/x"):
        keras2_file.build(path, LIMIT)


MEAN = [103.939, 116.779, 123.68]
REVERSED = {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]}
PREPROCESSING = {
    "symmetric": (
        [("math.truediv", {"y": 127.5, "name": None}), ("math.subtract", {"y": 1.0, "name": None})],
        lambda x: x / 127.5 - 1,
    ),
    "cast first": ([("cast", {"dtype": "float32"}), ("math.multiply", {"y": 1 / 255})], lambda x: x / 255),
    "caffe": (
        [
            ("__operators__.getitem", REVERSED),
            ("nn.bias_add", {"bias": [-mean for mean in MEAN], "data_format": "NHWC"}),
        ],
        lambda x: x[..., ::-1] - MEAN,
    ),
    "a constant less it": ([("math.subtract", ["_CONSTANT_VALUE", -1, 255.0])], lambda x: 255 - x),
    "each channel": ([("math.truediv", {"y": [[[1.0, 2.0, 4.0]]]})], lambda x: x / [1, 2, 4]),
}


@pytest.mark.parametrize("how", PREPROCESSING)
def test_preprocessing_with_plain_constants_is_part_of_the_model(how, tmp_path):
    calls, function = PREPROCESSING[how]
    path = save_keras2_h5(tmp_path, edit=lambda document: preprocessed(document, *calls))
    assert keras_file.inspect(path, LIMIT).size == SIZE
    batch = pixels().astype(np.float32)
    wanted = network().predict(function(batch.astype(float)).astype(np.float32), verbose=0)
    model = keras2_file.build(path, LIMIT)
    model.save(tmp_path / "ours.keras")
    served = keras.saving.load_model(tmp_path / "ours.keras", safe_mode=True, compile=False)
    np.testing.assert_allclose(served.predict(batch, verbose=0), wanted, atol=1e-5)


def test_the_graph_operations_of_tensorflow_2_0(tmp_path):
    def edit(document):
        preprocessed(document, ("math.multiply", {}), ("math.subtract", {}))
        for layer, op, constant in zip(document["config"]["layers"][-2:], ("Mul", "Sub"), (0.5, 3.0), strict=True):
            layer["class_name"] = "TensorFlowOpLayer"
            node = {"name": op, "op": op, "input": ["x", f"{op}/y"], "attr": {"T": {"type": "DT_FLOAT"}}}
            layer["config"] = {"name": layer["name"], "node_def": node, "constants": {"1": constant}}
            layer["inbound_nodes"] = [[[layer["inbound_nodes"][0][0], 0, 0, {}]]]

    batch = pixels().astype(np.float32)
    wanted = network().predict(batch * 0.5 - 3, verbose=0)
    np.testing.assert_allclose(answer(save_keras2_h5(tmp_path, edit=edit), batch), wanted, atol=1e-5)


def test_layers_of_training_in_the_model_change_nothing(tmp_path):
    def edit(document):
        drop = next(layer for layer in document["config"]["layers"] if layer["name"] == "drop")
        drop.update(class_name="RandomFlip", config={"name": "drop", "mode": "horizontal", "seed": 3})

    batch = pixels().astype(np.float32) / 255
    np.testing.assert_allclose(
        answer(save_keras2_h5(tmp_path, edit=edit), batch), network().predict(batch, verbose=0), atol=1e-6
    )


def layer(name, **values):
    def edit(document):
        chosen = next(layer for layer in document["config"]["layers"] if layer["name"] == name)
        chosen |= values

    return edit


def option(name, **values):
    return lambda document: next(layer for layer in document["config"]["layers"] if layer["name"] == name)[
        "config"
    ].update(values)


def function(name, **arguments):
    return lambda document: preprocessed(document, (name, arguments))


CODE = base64.b64encode(marshal.dumps(compile("import os; os.mkdir('evil')", "x", "exec"))).decode()
LAMBDA = {"name": "act", "function": [CODE, None, None], "function_type": "lambda", "module": "os"}
BAD = {
    "Lambda": (layer("act", class_name="Lambda", config=LAMBDA), "'act' is a Lambda .it is Python code"),
    "custom class": (layer("act", class_name="Theirs"), "'act' is a Theirs"),
    "module path": (layer("act", class_name="os.system"), r"'act' is a os\.system"),
    "TensorFlow Hub": (layer("act", class_name="KerasLayer"), "KerasLayer .*give the SavedModel"),
    "custom model": (lambda document: document.update(class_name="TheirModel"), "TheirModel, which needs its author"),
    "nested Lambda": (
        lambda d: d["config"]["layers"][1]["config"]["layers"][3].update(class_name="Lambda", config=LAMBDA),
        "is a Lambda",
    ),
    "unknown option": (option("dense_1", hook="evil"), "option 'hook'"),
    "a function as activation": (option("act", activation={"class_name": "function"}), "unhashable|activation"),
    "units": (option("dense_1", units=10**9), "above 65,536"),
    "read a file": (function("io.read_file"), r"calls io\.read_file, which is not on the list"),
    "Python function": (function("py_function"), "calls py_function, which is not on the list"),
    "another slice": (function("__operators__.getitem", slice_spec=[0]), "not on the list"),
    "divided by zero": (function("math.truediv", y=0.0), "divides by zero"),
    "no number": (function("math.multiply", y=float("nan")), "not finite"),
    "a large constant": (function("math.multiply", y=[1.0] * 5000), "a constant has the shape"),
    "an unknown argument": (function("math.multiply", y=1.0, out="/etc/passwd"), "with out=/etc/passwd"),
    "as in training": (
        layer("drop", inbound_nodes=[[["dense_1", 0, 0, {"training": True}]]]), "called as in training",
    ),
    "wide pictures": (option("picture", batch_input_shape=[None, 32, 64, 3]), "not that of square RGB"),
    "huge pictures": (option("picture", batch_input_shape=[None, 10**6, 10**6, 3]), "not that of square RGB"),
    "no layers": (lambda document: document["config"].pop("layers"), "list of layers"),
    "layers of odd kinds": (lambda document: document["config"].update(layers=[3]), "list of layers"),
}  # fmt: skip


@pytest.mark.parametrize("save", [save_keras2_h5, save_keras2_archive])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_description_is_refused_before_anything_is_built(name, save, tmp_path, nothing_loads, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit, reason = BAD[name]
    path = save(tmp_path, edit=edit)
    with nothing_loads(), pytest.raises(UserError, match=reason):
        keras_file.inspect(path, LIMIT)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("cycle", [[["act", 0, 0, {}]], [["absent", 0, 0, {}]]])
def test_a_layer_that_waits_for_itself_is_refused(cycle, tmp_path):
    path = save_keras2_h5(tmp_path, edit=layer("act", inbound_nodes=[cycle]))
    with pytest.raises(UserError, match="'act' waits for itself, or for a layer that is missing"):
        keras2_file.build(path, LIMIT)


def virtual(file):
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file["model_weights"].create_virtual_dataset("v:0", layout)


CONTENT = {
    "external link": (lambda f: f["model_weights"].update({"x": h5py.ExternalLink("secret.h5", "/x")}), "is a link"),
    "soft link": (lambda f: f.update({"x": h5py.SoftLink("/model_weights")}), "is a link"),
    "a cycle": (lambda f: f["model_weights"].update({"x": f["model_weights"]}), "under another name"),
    "external values": (
        lambda f: f["model_weights"].create_dataset("x", (3,), "f4", external=[("/etc/passwd", 0, 12)]),
        "values in other files",
    ),
    "virtual values": (virtual, "values in other files"),
    "a pickle": (
        lambda f: f["model_weights"].create_dataset(
            "x", data=np.void(b"\x80\x04K\x01."), dtype=h5py.opaque_dtype("V5")
        ),
        "not numbers",
    ),
    "objects": (lambda f: f["model_weights"].create_dataset("x", data=["a"], dtype=h5py.string_dtype()), "not numbers"),
    "huge": (lambda f: f["model_weights"].create_dataset("x", (2**40,), "f4"), "the limit is"),
    "no architecture": (lambda f: f.attrs.pop("model_config"), "weights without an architecture"),
    "architecture of numbers": (lambda f: f.attrs.update({"model_config": 3}), "model_config is no text"),
    "architecture cut short": (lambda f: f.attrs.update({"model_config": '{"class_name'}), "not valid JSON"),
    "a pickled architecture": (lambda f: f.attrs.update({"model_config": np.void(b"\x80\x04K\x01.")}), "no text"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_a_bad_file_is_refused_before_anything_is_built(name, tmp_path, nothing_loads):
    change, reason = CONTENT[name]
    (tmp_path / "secret.h5").write_bytes(b"")
    path = save_keras2_h5(tmp_path, change=change)
    with nothing_loads(), pytest.raises(UserError, match=reason):
        keras_file.inspect(path, LIMIT)


def test_a_file_that_is_cut_short_is_refused(tmp_path, nothing_loads):
    path = save_keras2_h5(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with nothing_loads(), pytest.raises(UserError, match="cut short"):
        keras_file.inspect(path, LIMIT)


def test_an_archives_weights_are_checked_as_those_of_keras_3(tmp_path, nothing_loads):
    path = edit_weights(save_keras2_archive(tmp_path), lambda f: f.update({"x": h5py.ExternalLink("a.h5", "/x")}))
    with nothing_loads(), pytest.raises(UserError, match="is a link"):
        keras_file.inspect(path, LIMIT)


def test_a_version_that_claims_to_be_keras_2_opens_no_door(tmp_path, nothing_loads):
    """A Keras 3 description with a custom class, in an archive that says 2.15."""
    with zipfile.ZipFile(save_keras2_archive(tmp_path)) as archive:
        document = json.loads(archive.read("config.json"))
    document["config"]["layers"][3] |= {"module": "os", "class_name": "system", "registered_name": "os>system"}
    path = rewrite(
        tmp_path / "theirs.keras", lambda members: members.update({"config.json": json.dumps(document).encode()})
    )
    with nothing_loads(), pytest.raises(UserError, match="is a system"):
        keras_file.inspect(path, LIMIT)
