"""pipeline.model_import.graph_model: TensorFlow.js graph models, as nsfwjs' default one is."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.core.errors import UserError
from pipeline.model_import import graph_model, layers_model, saved_model
from pipeline.model_import.inspection import ModelInfo
from pipeline.serving.networks import Adapter, load_network
from tests.support.foreign_models import SIZE, pixels

LIMIT = 2**22


def text(value: str) -> dict:
    return {"s": base64.b64encode(value.encode()).decode()}


def texts(*values: str) -> dict:
    return {"list": {"s": [text(value)["s"] for value in values]}}


def numbers(*values: int) -> dict:
    return {"list": {"i": [str(value) for value in values]}}


def node(name: str, op: str, *inputs: str, **attributes) -> dict:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def dims(*sizes: int) -> dict:
    return {"dim": [{"size": str(size)} for size in sizes]}


CONVOLUTION = {"strides": numbers(1, 2, 2, 1), "padding": text("SAME"), "data_format": text("NHWC")}
RNG = np.random.default_rng(7)
WEIGHTS = {
    "k": RNG.normal(0, 0.4, (3, 3, 3, 6)),
    "b": RNG.normal(0, 0.4, 6),
    "dk": RNG.normal(0, 0.4, (3, 3, 6, 1)),
    "db": RNG.normal(0, 0.4, 6),
    "dense": RNG.normal(0, 0.9, (6, 3)),
    "bias": RNG.normal(0, 0.4, 3),
}
WEIGHTS = {name: value.astype(np.float32) for name, value in WEIGHTS.items()}


def inline(name: str, kind: str, key: str, values: list, *sizes: int) -> dict:
    return node(name, "Const", value={"tensor": {"dtype": kind, "tensorShape": dims(*sizes), key: values}})


def nodes() -> list[dict]:
    """The operations of nsfwjs' own graph, in another order than they are computed in."""
    constants = [node(name, "Const", dtype={"type": "DT_FLOAT"}) for name in WEIGHTS]
    return [
        node("out", "Softmax", "dense_1"),
        node("x", "Placeholder", shape={"shape": dims(-1, SIZE, SIZE, 3)}, dtype={"type": "DT_FLOAT"}),
        *constants,
        inline("one", "DT_FLOAT", "floatVal", [1.0]) | {"input": ["^x"]},
        node("twice", "AddV2", "x", "x"),
        node("less", "Sub", "twice:0", "one"),
        node("conv", "_FusedConv2D", "less", "k", "b", fused_ops=texts("BiasAdd", "Relu6"), **CONVOLUTION),
        node("depth", "FusedDepthwiseConv2dNative", "conv", "dk", "db", fused_ops=texts("BiasAdd"), **CONVOLUTION),
        node("pool", "AvgPool", "depth", ksize=numbers(1, 8, 8, 1), strides=numbers(1, 1, 1, 1), padding=text("VALID")),
        node("flat", "Squeeze", "pool", squeeze_dims=numbers(1, 2)),
        node("dense_1", "_FusedMatMul", "flat", "dense", "bias", fused_ops=texts("BiasAdd")),
    ]


def wanted(unit: np.ndarray) -> np.ndarray:
    """The outputs of `nodes`, in TensorFlow's own words."""
    x = tf.nn.relu6(tf.nn.conv2d(2 * unit - 1, WEIGHTS["k"], 2, "SAME") + WEIGHTS["b"])
    x = tf.nn.depthwise_conv2d(x, WEIGHTS["dk"], [1, 2, 2, 1], "SAME") + WEIGHTS["db"]
    return tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ WEIGHTS["dense"] + WEIGHTS["bias"]).numpy()


def save_graph(folder: Path, edit=lambda document: None) -> Path:
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in WEIGHTS.items()]
    (folder / "group1-shard1of1.bin").write_bytes(b"".join(value.tobytes() for value in WEIGHTS.values()))
    manifest = [{"paths": ["group1-shard1of1.bin"], "weights": entries}]
    signature = {"outputs": {"out:0": {"name": "out:0", "tensorShape": dims(-1, 3)}}}
    topology = {"node": nodes(), "versions": {"producer": 175}}
    document = {"format": "graph-model", "modelTopology": topology, "weightsManifest": manifest}
    document["userDefinedMetadata"] = {"signature": signature}
    edit(document)
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    return path


def test_a_sound_graph_comes_out_the_same(tmp_path, nothing_loads):
    path = save_graph(tmp_path)
    with nothing_loads():
        assert layers_model.inspect(path, LIMIT) == ModelInfo("tfjs_graph", SIZE, 3)
    graph_model.save(path, LIMIT, tmp_path / "saved")
    assert saved_model.inspect(tmp_path / "saved", LIMIT).size == SIZE
    answer = load_network(tmp_path / "saved", Adapter("saved_model", (1 / 255,) * 3), SIZE, 3)(pixels())
    assert np.ptp(answer) > 0.1
    np.testing.assert_allclose(answer, wanted(pixels().astype(np.float32) / 255), atol=1e-5)


def added(*entry, **attributes):
    return lambda document: document["modelTopology"]["node"].append(node(*entry, **attributes))


def changed(name, **values):
    def edit(document):
        next(one for one in document["modelTopology"]["node"] if one["name"] == name).update(values)

    return edit


def attribute(name, **values):
    def edit(document):
        next(one for one in document["modelTopology"]["node"] if one["name"] == name)["attr"].update(values)

    return edit


def shard(name):
    return lambda document: document["weightsManifest"][0].update(paths=[name])


def more(constant):
    return lambda document: document["modelTopology"]["node"].append(constant)


BAD = {
    "read a file": (added("evil", "ReadFile", "x"), "is a ReadFile, which is not on the list"),
    "write a file": (added("evil", "WriteFile", "x", "out"), "is a WriteFile"),
    "Python": (added("evil", "PyFunc", "x"), "is a PyFunc"),
    "unknown operation": (added("evil", "Theirs", "x"), "is a Theirs"),
    "a loop": (added("evil", "While", "x"), "is a While"),
    "functions": (
        lambda document: document["modelTopology"].update(library={"function": [{}]}), "functions of its own",
    ),
    "a cycle": (changed("twice", input=["less", "x"]), "waits for itself"),
    "a missing node": (changed("twice", input=["x", "absent"]), "waits for itself, or for a node that is missing"),
    "a second output": (changed("less", input=["twice:1", "one"]), "waits for itself, or for a node"),
    "a name twice": (added("out", "Identity", "x"), "a name twice"),
    "a huge constant": (more(inline("c", "DT_FLOAT", "floatVal", [1.0], 2**20, 2**20)), "constant 'c' has the shape"),
    "a negative constant": (more(inline("c", "DT_FLOAT", "floatVal", [1.0], -1)), "constant 'c' has the shape"),
    "a text as constant": (more(inline("c", "DT_STRING", "stringVal", ["eA=="], 1)), "DT_STRING"),
    "two inputs": (added("x2", "Placeholder", shape={"shape": dims(-1, 8)}), "one input and one output"),
    "wide pictures": (attribute("x", shape={"shape": dims(-1, 32, 64, 3)}), "not that of square RGB"),
    "channels first": (attribute("conv", data_format=text("NCHW")), "channels first"),
    "strides": (attribute("conv", strides=numbers(1, 10**9, 1, 1)), "has strides"),
    "fused with code": (attribute("conv", fused_ops=texts("BiasAdd", "PyFunc")), "is fused with PyFunc"),
    "too many inputs": (changed("out", input=["dense_1", "x"]), "a Softmax takes 2 inputs"),
    "shard outside": (shard("../secret.bin"), "shard name"),
    "missing shard": (shard("absent.bin"), "does not exist"),
    "no nodes": (lambda document: document["modelTopology"].pop("node"), "describes no graph"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_graph_is_refused_before_anything_is_built(name, tmp_path, nothing_loads):
    edit, reason = BAD[name]
    path = save_graph(tmp_path, edit)
    with nothing_loads(), pytest.raises(UserError, match=reason):
        layers_model.inspect(path, LIMIT)


def test_operations_that_do_not_fit_together_are_a_users_error(tmp_path):
    path = save_graph(tmp_path, changed("conv", input=["less", "dk", "b"]))
    with pytest.raises(UserError, match="do not fit together"):
        graph_model.save(path, LIMIT, tmp_path / "saved")
