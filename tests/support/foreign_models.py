"""Small models from elsewhere, valid and broken ones, in each format: 32 px, three classes, input 0 to 1."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

SIZE = 32
CLASSES = ("drawings", "neutral", "porn")


def pixels(count: int = 5) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def network(classes: int = 3, size: int = SIZE) -> keras.Model:
    """A network with a model inside and a branch, its weights and statistics random, its answers far from even."""
    keras.utils.set_random_seed(2)
    stem = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
            keras.layers.Conv2D(6, 3, strides=2, use_bias=False, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(6.0, name="relu"),
        ],
        name="stem",
    )
    inputs = keras.Input((size, size, 3), name="picture")
    x = stem(inputs)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = keras.layers.Activation("relu", name="act")(y)
    z = keras.layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="separable")(x)
    x = keras.layers.Concatenate(name="both")([keras.layers.Add(name="sum")([x, y]), z])
    x = keras.layers.Flatten(name="flat")(keras.layers.AveragePooling2D(size // 2, name="pool")(x))
    x = keras.layers.Dropout(0.5, name="drop")(keras.layers.Dense(8, "relu", name="dense_1")(x))
    model = keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="dense_2")(x), name="theirs")
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    norm = stem.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return model


def save_keras(folder: Path, model: keras.Model | None = None) -> Path:
    path = folder / "theirs.keras"
    (model or network()).save(path)
    return path


def save_saved_model(folder: Path, model: keras.Model | None = None) -> Path:
    (model or network()).export(folder / "saved", verbose=False)
    return folder / "saved"


def save_onnx(
    folder: Path, batch: int | str = "n", edit: Callable[[onnx.ModelProto], None] = lambda model: None
) -> Path:
    """Mean of each channel, a dense layer, softmax; channels first."""
    weights = {"w": np.linspace(-9, 9, 9, dtype=np.float32).reshape(3, 3), "b": np.array([1, 0, -1], np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"], "mean"),
        helper.make_node("Flatten", ["m"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"], "dense"),
        helper.make_node("Softmax", ["l"], ["p"], "softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    edit(model)
    path = folder / "theirs.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def save_linear(
    folder: Path, weights: np.ndarray, bias: np.ndarray, activation: str = "Softmax", name: str = "linear.onnx"
) -> Path:
    """An ONNX model, channels first: the mean of each channel, a dense layer (3, outputs), and an activation."""
    return save_grid(folder, 1, weights, bias, name, activation)


def save_grid(
    folder: Path, cells: int, weights: np.ndarray, bias: np.ndarray, name: str, activation: str = "Softmax"
) -> Path:
    """The same of the mean of each channel in cells x cells squares; weights (3 * cells * cells, outputs)."""
    values = {"w": weights.astype(np.float32), "b": bias.astype(np.float32)}
    side = [SIZE // cells] * 2
    nodes = [
        helper.make_node("AveragePool", ["x"], ["m"], kernel_shape=side, strides=side),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"]),
        helper.make_node(activation, ["l"], ["p"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [numpy_helper.from_array(value, key) for key, value in values.items()],
    )
    path = folder / name
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def onnx_answer(unit: np.ndarray) -> np.ndarray:
    """The outputs of save_onnx's model, computed with NumPy."""
    logits = unit.mean(axis=(1, 2)) @ np.linspace(-9, 9, 9).reshape(3, 3) + [1, 0, -1]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


_DROP = {"batch_shape", "dtype", "quantization_config", "renorm_clipping", "renorm_momentum"}  # Keras 3's own


def keras_2(model: keras.Model) -> dict[str, Any]:
    """A model's description as Keras 2 wrote it."""
    layers = []
    for layer in model.layers:
        nested = isinstance(layer, keras.Model)
        config = {key: value for key, value in layer.get_config().items() if key not in _DROP}
        if isinstance(layer, keras.layers.InputLayer):
            config = {
                "name": layer.name,
                "batch_input_shape": list(layer.batch_shape),
                "dtype": "float32",
                "sparse": False,
            }
        entry = keras_2(layer) if nested else {"class_name": type(layer).__name__, "config": config}
        calls = _sources(model, layer)
        layers.append({**entry, "name": layer.name, "inbound_nodes": [calls] if calls else []})
    if isinstance(model, keras.Sequential):
        layers = [{"class_name": entry["class_name"], "config": entry["config"]} for entry in layers]
        layers[0]["config"]["batch_input_shape"] = list(model.input_shape)
        return {"class_name": "Sequential", "config": {"name": model.name, "layers": layers}}
    ends = {"input_layers": [[model.layers[0].name, 0, 0]], "output_layers": [[model.layers[-1].name, 0, 0]]}
    return {"class_name": "Model", "config": {"name": model.name, "layers": layers, **ends}}


def _sources(model: keras.Model, layer: keras.layers.Layer) -> list[Any]:
    if isinstance(model, keras.Sequential):
        return []
    entry = next(entry for entry in model.get_config()["layers"] if entry["name"] == layer.name)
    calls: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "keras_history" in node:
                calls.append([node["keras_history"][0], 0, 0, {}])
            for value in node.values():
                walk(value)
        elif isinstance(node, list | tuple):
            for value in node:
                walk(value)

    walk(entry["inbound_nodes"])
    return calls


def weights_of(model: keras.Model) -> list[tuple[str, np.ndarray]]:
    """Every weight, named as Keras 2 named it."""
    weights = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            weights += weights_of(layer)
        for weight in [] if isinstance(layer, keras.Model) else layer.weights:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and weight.name == "kernel"
            weights.append((f"{layer.name}/{'depthwise_kernel' if depthwise else weight.name}", weight.numpy()))
    return weights


def save_tfjs(
    folder: Path, model: keras.Model | None = None, edit: Callable[[dict], None] = lambda document: None
) -> Path:
    model = model or network()
    named = weights_of(model)
    entries = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in named]
    (folder / "group1-shard1of1.bin").write_bytes(b"".join(value.tobytes() for _, value in named))
    manifest = [{"paths": ["group1-shard1of1.bin"], "weights": entries}]
    topology = {"keras_version": "2.2.4", "backend": "tensorflow", "model_config": keras_2(model)}
    document = {"format": "layers-model", "modelTopology": topology, "weightsManifest": manifest}
    edit(document)
    path = folder / "model.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def keras2_document(model: keras.Model | None = None) -> dict[str, Any]:
    """A model's description as Keras 2 wrote it in its own files: it counts the calls of an inner model from 1."""
    document = keras_2(model or network())
    inner = {layer["name"] for layer in document["config"]["layers"] if layer["class_name"] in {"Sequential", "Model"}}
    for layer in document["config"]["layers"]:
        for call in layer.get("inbound_nodes", []):
            for entry in call:
                entry[1] = 1 if entry[0] in inner else entry[1]
    return document


def save_keras2_h5(
    folder: Path,
    model: keras.Model | None = None,
    edit: Callable[[dict], None] = lambda document: None,
    change: Callable[[h5py.File], None] = lambda file: None,
) -> Path:
    """Write a model as tf_keras 2.x writes model.save("x.h5"), after its training. Compared once with real ones."""
    model = model or network()
    document = keras2_document(model)
    edit(document)
    path = folder / "theirs.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        file.attrs["model_config"] = json.dumps(document)
        file.attrs["training_config"] = json.dumps({"loss": "their_own_loss", "metrics": [{"class_name": "Theirs"}]})
        file["optimizer_weights/Adam/iterations:0"] = np.int64(7)
        groups = file.create_group("model_weights")
        for layer in model.layers:
            group = groups.create_group(layer.name)
            inside = weights_of(layer) if isinstance(layer, keras.Model) else weights_of(_Only(layer))
            group.attrs["weight_names"] = [f"{name}:0".encode() for name, _ in inside]
            for name, value in inside:
                group[f"{name}:0"] = value
        change(file)
    return path


class _Only:
    """A layer alone, as a model has it."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.layers = [layer]


# Where network()'s layers are in an archive of Keras 2, which counts each class by itself.
ARCHIVE = {
    "layers/sequential/layers/conv2d": "stem/conv",
    "layers/sequential/layers/batch_normalization": "stem/norm",
    "layers/depthwise_conv2d": "depthwise",
    "layers/separable_conv2d": "separable",
    "layers/dense": "dense_1",
    "layers/dense_1": "dense_2",
}


def save_keras2_archive(folder: Path, edit: Callable[[dict], None] = lambda document: None, by: str = "/") -> Path:
    """Write network() as tf_keras 2.13 and later writes model.save("x.keras"). Compared once with real ones."""
    model = network()
    document = keras2_document(model)
    edit(document)
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for inside, layer_path in ARCHIVE.items():
            layer: Any = model
            for name in layer_path.split("/"):
                layer = layer.get_layer(name)
            for index, weight in enumerate(layer.weights):
                file[f"{inside}/vars/{index}".replace("/", by)] = weight.numpy()
        file["optimizer/vars/0"] = np.int64(7)
    path = folder / "theirs.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0", "date_saved": "2026-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(document))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def preprocessed(document: dict, *calls: tuple[str, list]) -> None:
    """Put calls of functions (class, inbound_nodes and config in one) between the picture and what takes it."""
    layers = document["config"]["layers"]
    last = f"op_{len(calls) - 1}"
    for layer in layers:
        for call in layer.get("inbound_nodes", []):
            for entry in call:
                entry[0] = last if entry[0] == "picture" else entry[0]
    before = "picture"
    for number, (function, arguments) in enumerate(calls):
        kind = "SlicingOpLambda" if function.endswith("getitem") else "TFOpLambda"
        entry = [before, 0, 0, arguments] if isinstance(arguments, dict) else [*arguments[:3], {"y": [before, 0, 0]}]
        name = f"op_{number}"
        config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
        layers.append({"class_name": kind, "config": config, "name": name, "inbound_nodes": [entry]})
        before = name


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> Path:
    """Rewrite a .keras file's members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edit_config(path: Path, edit: Callable[[dict], None]) -> Path:
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        edit(config)
        members["config.json"] = json.dumps(config).encode()

    return rewrite(path, change)


def edit_weights(path: Path, edit: Callable[[h5py.File], None]) -> Path:
    def change(members: dict[str, bytes]) -> None:
        file = io.BytesIO(members["model.weights.h5"])
        with h5py.File(file, "a") as weights:
            edit(weights)
        members["model.weights.h5"] = file.getvalue()

    return rewrite(path, change)


class _Calls(tf.Module):
    """A model whose answer passes through `within`."""

    def __init__(self, within: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self.w = tf.Variable(tf.eye(3))
        self._within = within

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self._within(tf.reduce_mean(x, axis=(1, 2)) @ self.w))


def save_calls(folder: Path, within: Callable[[tf.Tensor], tf.Tensor] = lambda x: x) -> Path:
    module = _Calls(within)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.serve)
    return folder / "saved"
