"""A Keras model as one TensorFlow function.

    predict = traced(model)
    probabilities = predict(pixels)  # a tensor, (n, classes)

This file travels with every registered model.
"""

from collections.abc import Callable
from typing import Any


def traced(model: Any, dtype: str = "float32") -> Callable[[Any], Any]:
    """Return a model's inference as a function of a batch (n, ...) of its input's shape and of type `dtype`.

    It is traced once, for batches of every length; Keras itself traces again for each length that it has not met.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), dtype)]
    function: Callable[[Any], Any] = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    return function
