"""Determinism: the same seed on the same CPU gives the same weights."""

import keras
import tensorflow as tf


def seed(value: int) -> None:
    """Seed Python, numpy and Keras, and make TensorFlow's operations deterministic."""
    keras.utils.set_random_seed(value)
    tf.config.experimental.enable_op_determinism()
