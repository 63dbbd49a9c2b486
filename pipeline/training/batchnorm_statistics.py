"""The statistics of batch normalization, estimated for the weights as they are ("precise batch norm").

In training a BatchNormalization layer normalizes by its batch; inference uses moving averages, which lag behind weights
that change quickly, and are those of augmented pictures. They are replaced by averages over many batches of pictures
as serving sees them (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model import backbone
from pipeline.training.batches import Source

PICTURES = 1024  # Wu and Johnson: 10**3 are enough
_STREAM = 2  # its draws do not depend on those of the batches


class BatchnormStatistics:
    """Estimates the statistics of those BatchNormalization layers of a classifier's backbone that are trained.

    `train`: the pictures, of which PICTURES are drawn at most; `batch_size`: that of the training.
    """

    def __init__(self, model: Any, train: Source, batch_size: int, seed: int) -> None:
        norms = [layer for layer in backbone.batchnorms(model.get_layer(backbone.NAME)) if layer.trainable]
        self._statistics = [each for layer in norms for each in (layer.moving_mean, layer.moving_variance)]
        self._train = train
        self._batch_size = min(batch_size, train.pictures)
        self._seed = seed
        self._of_batch = _of_batch(model, norms, self._statistics) if norms else None

    def estimate(self, epoch: int) -> None:
        """Set the statistics, in place; nothing changes where no such layer is trained."""
        if self._of_batch is None:
            return
        rng = np.random.default_rng([self._seed, epoch, _STREAM])
        batches = max(1, min(PICTURES, self._train.pictures) // self._batch_size)
        rows = self._train.rows(rng, 0, self._batch_size).take(batches)
        every = [[value.numpy() for value in self._of_batch(pictures)] for pictures, _ in rows]
        for variable, values in zip(self._statistics, zip(*every, strict=True), strict=True):
            variable.assign(np.mean(values, axis=0))


def _of_batch(model: Any, norms: Sequence[Any], statistics: Sequence[Any]) -> Any:
    """Return a function from a batch of pictures (n, size, size, 3) to each layer's mean and variance over it."""
    position = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
    positions = [position[id(variable)] for variable in statistics]

    def of_batch(pictures: Any) -> list[Any]:
        trainable, others = model.trainable_variables, model.non_trainable_variables
        values = [variable.value for variable in trainable], [variable.value for variable in others]
        _, updated = model.stateless_call(*values, pictures, training=True)  # Dropout's seeds do not move either
        return [updated[index] for index in positions]

    with _momentum(norms, 0.0):  # then a moving average is the batch's own value
        signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        return tf.function(of_batch).get_concrete_function(signature)


@contextmanager
def _momentum(norms: Sequence[Any], momentum: float) -> Iterator[None]:
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = momentum
    try:
        yield
    finally:
        for layer, value in zip(norms, before, strict=True):
            layer.momentum = value
