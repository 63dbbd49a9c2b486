"""The devices of this machine, and the number format in which they compute fastest."""

import json
import logging
import os
from typing import Any, Literal

import tensorflow as tf

from pipeline.core import tensorflow_log

Precision = Literal["float32", "float16", "bfloat16"]

_UNUSED = (
    "this machine has a GPU, and TensorFlow uses none: is CUDA installed (`pip install 'nsfw-pipeline[gpu]'`)? "
    "With TF_CPP_MIN_LOG_LEVEL=0 TensorFlow says what it lacks."
)

_log = logging.getLogger(__name__)


def strategy() -> Any:
    """Return the tf.distribute strategy: several machines where TF_CONFIG names them, all GPUs here, or one device.

    Call it before anything else of TensorFlow: the workers connect at the start.
    """
    if len(_workers()) > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and tensorflow_log.has_gpu() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        _log.warning("%s", _UNUSED)
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process writes the results: the only one, or worker 0 (or `chief`) of TF_CONFIG."""
    task = _tf_config().get("task", {})
    return len(_workers()) < 2 or task.get("type") == "chief" or ("chief" not in _cluster() and task.get("index") == 0)


def precision(wanted: Literal["auto", "float32", "float16", "bfloat16"]) -> Precision:
    """Return the number format; `auto`: bfloat16 from NVIDIA's compute capability 8.0 on, float16 from 7.0 on."""
    if wanted != "auto":
        return wanted
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    least = min(capabilities, default=(0, 0))
    if least >= (8, 0):
        return "bfloat16"
    return "float16" if least >= (7, 0) else "float32"


def jit_compile(*, wanted: bool | Literal["auto"]) -> bool:
    """Return whether XLA compiles the step; `auto`: on a GPU (on a CPU it was slower, see benchmarks/training.py)."""
    return bool(tf.config.list_physical_devices("GPU")) if wanted == "auto" else wanted


def _tf_config() -> dict[str, Any]:
    return dict(json.loads(os.environ.get("TF_CONFIG", "{}")))


def _cluster() -> dict[str, list[str]]:
    return dict(_tf_config().get("cluster", {}))


def _workers() -> list[str]:
    return [address for role in ("chief", "worker") for address in _cluster().get(role, [])]
