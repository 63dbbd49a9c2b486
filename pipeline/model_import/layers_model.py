"""A TensorFlow.js layers model (nsfwjs' model.json and its shards) rebuilt as a Keras 3 model.

Its topology has the format of Keras 2, and is never passed to Keras (`keras2_model`).
"""

from pathlib import Path
from typing import Any

from pipeline.model_import import graph_model, keras2_model, tfjs_weights, topology
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

_DOCUMENT_BYTES = 64 * 2**20


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what model.json states; the topology is checked, nothing is built, and of the shards only sizes are read.

    Raises:
        UserError: it is broken or too large, has a layer or an option that is not listed, or is no picture classifier.

    """
    check_bytes(path, path.stat().st_size, min(_DOCUMENT_BYTES, max_bytes))
    if graph_model.is_graph_model(read_document(path, path.read_bytes(), "model.json")):
        return graph_model.inspect(path, max_bytes)
    description = _description(path, max_bytes)
    with keras2_model.broken_is_refused(path):
        keras2_model.check(path, description)
        tfjs_weights.check_shards(path, max_bytes)
        size, layout = side(path, topology.input_shape(description))
        return ModelInfo("tfjs", size, topology.classes(description), layout)


def build(path: Path, max_bytes: int) -> Any:
    """Return the model of an inspected file as a Keras 3 model with its weights, float32.

    Raises:
        UserError: weights and layers do not match.

    """
    return keras2_model.build(path, _description(path, max_bytes), tfjs_weights.read_weights(path))


def _description(path: Path, max_bytes: int) -> dict[str, Any]:
    check_bytes(path, path.stat().st_size, min(_DOCUMENT_BYTES, max_bytes))
    document = read_document(path, path.read_bytes(), "model.json")
    model = document.get("modelTopology")
    if isinstance(model, dict):
        model = model.get("model_config", model)
    if not isinstance(model, dict) or model.get("class_name") not in topology.MODELS:
        raise refusal(path, "it has no layers model in modelTopology")
    return model
