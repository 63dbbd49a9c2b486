"""The Inception v3 of a TensorFlow.js layers model, such as nsfwjs' (the article's own), as Keras backbone weights.

Its layers have generated names (`conv2d_57`), which differ from build to build. So both networks are walked together,
from the last block to the input, and each layer is matched by what it is, where it is, and the shapes of its weights.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.core.errors import UserError
from pipeline.model_import import layers_model, topology
from pipeline.model_import.inspection import read_document

_LAST_BLOCK = "mixed10"
_MAX_BYTES = 512 * 2**20
_TOLERANCE = 1e-4  # of the largest feature


def holds_inception(model_json: Path) -> bool:
    """Whether the topology of a layers model, or of a model inside it, has Inception v3's last block.

    Raises:
        UserError: the file is not valid JSON.

    """
    if not model_json.is_file() or model_json.stat().st_size > _MAX_BYTES:
        return False  # reading the weights explains it
    document = read_document(model_json, model_json.read_bytes(), "model.json")
    waiting: list[Any] = [document.get("modelTopology")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("class_name") == "Concatenate" and topology.name(node) == _LAST_BLOCK:
                return True
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return False


def inception_v3_backbone(model_json: Path) -> tuple[Any, int]:
    """Return Keras' InceptionV3 without its top, filled from a layers model's weights, and the input's side in px.

    Raises:
        UserError: the file is refused (`layers_model.inspect`), its network is another, or the two differ in their
            outputs.

    """
    size = layers_model.inspect(model_json, _MAX_BYTES).size or 299
    theirs = layers_model.build(model_json, _MAX_BYTES)
    last = next((layer for layer in theirs.layers if layer.name.endswith(_LAST_BLOCK)), None)
    if last is None:
        raise UserError(f"{model_json} is no Inception v3: it has no layer {_LAST_BLOCK}")
    keras.backend.clear_session()
    ours = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(size, size, 3), name="backbone")
    for their_layer, layer in _pairs(model_json, last.output, ours.output):
        values = their_layer.get_weights()
        shapes, wanted = [value.shape for value in values], [tuple(weight.shape) for weight in layer.weights]
        if shapes != wanted:
            raise UserError(
                f"{model_json} is no Inception v3: {their_layer.name} has weights {shapes}, and {layer.name} {wanted}"
            )
        layer.set_weights(values)
    _check_outputs(model_json, keras.Model(theirs.input, last.output), ours, size)
    return ours, size


def _pairs(path: Path, their_end: Any, our_end: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each layer of one network with its counterpart in the other, from their ends to their inputs."""
    waiting, partners = [(their_end, our_end)], dict[int, Any]()
    while waiting:
        theirs, ours = waiting.pop()
        (their_layer, their_inputs), (layer, inputs) = _source(theirs), _source(ours)
        if partners.get(id(their_layer)) is layer:
            continue
        if type(their_layer) is not type(layer) or len(their_inputs) != len(inputs):
            raise UserError(
                f"{path} is no Inception v3: it has the {type(their_layer).__name__} {their_layer.name} where "
                f"Inception v3 has the {type(layer).__name__} {layer.name}"
            )
        if id(their_layer) in partners:
            raise UserError(f"{path} is no Inception v3: its layer {their_layer.name} has two counterparts")
        partners[id(their_layer)] = layer
        yield their_layer, layer
        waiting.extend(zip(their_inputs, inputs, strict=True))


def _source(tensor: Any) -> tuple[Any, list[Any]]:
    """Return the layer that a symbolic tensor comes from, and the tensors that this layer took."""
    history = tensor._keras_history  # noqa: SLF001 -- Keras has no public way to walk a model's graph
    return history.operation, list(history.operation._inbound_nodes[history.node_index].input_tensors)  # noqa: SLF001


def _check_outputs(path: Path, theirs: Any, ours: Any, size: int) -> None:
    """Compare the features of both networks for two pictures of noise: an option may differ where every shape fits."""
    pictures = np.random.default_rng(0).uniform(0.0, 1.0, (2, size, size, 3)).astype(np.float32)
    wanted, features = theirs.predict_on_batch(pictures), ours.predict_on_batch(pictures)
    if not np.allclose(features, wanted, rtol=0.0, atol=_TOLERANCE * max(1.0, float(np.abs(wanted).max()))):
        difference = float(np.abs(features - wanted).max())
        raise UserError(
            f"{path} is no Inception v3: with the same weights, Keras' one has other outputs (by {difference:.2g})"
        )
