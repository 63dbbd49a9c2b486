"""Adapter, network and calibration as one TensorFlow graph, from pixels to calibrated probabilities.

The resize of the picture is not part of it, as ONNX and LiteRT do not support an antialiased one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.temperature import SMALLEST_PROBABILITY
from pipeline.serving.networks import Adapter

INPUT, OUTPUT = "pixels", "probabilities"


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        model_file: the model, whose digest has been checked.
        adapter: converts between our pixels and labels and the model's own.
        size: side of its square input in pixels.
        classes: number of labels.
        temperature: of the calibration; 1.0 means none.

    """

    model_file: Path
    adapter: Adapter
    size: int
    classes: int
    temperature: float = 1.0


@dataclass(frozen=True)
class Graph:
    """A TensorFlow graph.

    Attributes:
        answer: function from float32 (n, size, size, 3), RGB, 0 to 255, to float32 (n, classes).
        held: objects that must stay alive with it.

    """

    answer: Any
    held: tuple[Any, ...]

    def frozen(self) -> Any:
        """Return the answer as a concrete function with its variables as constants.

        LiteRT's converter needs this for Keras 3 models: it loses their variables, so that the outputs are NaN.
        """
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        return convert_variables_to_constants_v2(self.answer.get_concrete_function())


def build(source: Source) -> Graph:
    """Return a `keras` or `saved_model` source as one graph with a dynamic batch size.

    Raises:
        UserError: the model is of another kind, or cannot be loaded.

    """
    import tensorflow as tf

    loaders = {"keras": _keras, "saved_model": _saved_model}
    if source.adapter.kind not in loaders:
        raise UserError(
            f"{source.model_file} is an {source.adapter.kind.upper()} model, which can only be exported as "
            "onnx: there is no converter from ONNX to TensorFlow. Say --format onnx."
        )
    network, held = loaders[source.adapter.kind](source.model_file)
    signature = [tf.TensorSpec((None, source.size, source.size, 3), tf.float32, name=INPUT)]

    def answer(pixels: Any) -> dict[str, Any]:
        outputs = _adapt_output(network(_adapt_input(pixels, source.adapter)), source.adapter)
        probabilities = _calibrated(outputs, source.temperature)
        probabilities.set_shape((None, source.classes))  # not ensure_shape: TensorFlow.js does not know that operation
        return {OUTPUT: probabilities}

    return Graph(tf.function(answer, input_signature=signature), held)


def order_matrix(adapter: Adapter) -> np.ndarray | None:
    """Return float32 (outputs, labels), 1.0 where an output counts towards a label; None if outputs are labels.

    A single output counts as two: what is left to 1, and itself.
    """
    if adapter.order is None or adapter.width is None:
        return None
    matrix = np.zeros((2 if adapter.single else adapter.width, len(adapter.order)), np.float32)
    for label, outputs in enumerate(adapter.order):
        matrix[list(outputs), label] = 1.0
    return matrix


def _adapt_input(pixels: Any, adapter: Adapter) -> Any:
    import tensorflow as tf

    if adapter.channels == "bgr":
        pixels = tf.reverse(pixels, [-1])
    if adapter.scale != (1.0, 1.0, 1.0) or adapter.offset != (0.0, 0.0, 0.0):
        pixels = pixels * tf.constant(adapter.scale, tf.float32) + tf.constant(adapter.offset, tf.float32)
    return tf.transpose(pixels, (0, 3, 1, 2)) if adapter.layout == "nchw" else pixels


def _adapt_output(given: Any, adapter: Adapter) -> Any:
    import tensorflow as tf

    given = tf.cast(given, tf.float32)
    if adapter.outputs == "logits":
        given = tf.nn.softmax(given)
    if adapter.outputs == "logit":
        given = tf.sigmoid(given)
    if adapter.single:
        given = tf.concat([1.0 - given, given], axis=1)
    matrix = order_matrix(adapter)
    return given if matrix is None else tf.matmul(given[:, : len(matrix)], tf.constant(matrix))


def _calibrated(given: Any, temperature: float) -> Any:
    import tensorflow as tf

    if temperature == 1.0:
        return given
    return tf.nn.softmax(tf.math.log(tf.clip_by_value(given, SMALLEST_PROBABILITY, 1.0)) / temperature)


_Loaded = tuple[Callable[[Any], Any], tuple[Any, ...]]


def _keras(path: Path) -> _Loaded:
    import keras

    model = keras.saving.load_model(path, safe_mode=True, compile=False)
    listed = isinstance(model.input, list)  # of one input, if the author declared the inputs as a list

    def answer(pixels: Any) -> Any:
        return model([pixels] if listed else pixels, training=False)

    return answer, tuple(variable.value for variable in model.variables)


def _saved_model(path: Path) -> _Loaded:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]
    ((name, _),) = signature.structured_input_signature[1].items()
    ((output, _),) = signature.structured_outputs.items()

    def answer(pixels: Any) -> Any:
        return signature(**{name: pixels})[output]

    return answer, (model,)
