"""TensorFlow.js layers models (nsfwjs' `model.json` and its shards) as Keras backbone weights."""

import json
import math
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import UserError

_MAX_BYTES = 512 * 2**20
_TYPES = {"float32": np.float32, "uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}
_KERAS_3 = {"depthwise_kernel": "kernel"}  # Keras 3 names a depthwise kernel plainly


def read_weights(model_json: Path) -> dict[str, np.ndarray]:
    """Return a layers model's weights by name (`Conv1/kernel`), float32; uint8 and uint16 ones dequantized.

    Raises:
        UserError: a file is missing, too large or not what its manifest says.

    """
    weights: dict[str, np.ndarray] = {}
    try:
        manifest = json.loads(model_json.read_text(encoding="utf-8"))["weightsManifest"]
        for group in manifest:
            data = b"".join(_shard(model_json, name) for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                weights[entry["name"]], offset = _weight(entry, data, offset)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist. Keep model.json and its shards in one folder.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{model_json} is not a TensorFlow.js layers model: {error!r}. Give its model.json.") from None
    return weights


def _shard(model_json: Path, name: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name.startswith("."):
        raise ValueError(f"shard name {name!r}")
    path = model_json.parent / name
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES:,} bytes: not a model of this kind.")
    return path.read_bytes()


def _weight(entry: dict[str, Any], data: bytes, offset: int) -> tuple[np.ndarray, int]:
    quantized = entry.get("quantization", {})
    kind = np.dtype(_TYPES[quantized.get("dtype", entry["dtype"])]).newbyteorder("<")
    count = math.prod(entry["shape"])
    stored = np.frombuffer(data, kind, count, offset).reshape(entry["shape"]).astype(np.float32)
    if "scale" in quantized:
        stored = stored * np.float32(quantized["scale"]) + np.float32(quantized["min"])
    return stored, offset + count * kind.itemsize


def mobilenet_v2_backbone(weights: dict[str, np.ndarray], alpha: float, size: int) -> Any:
    """Return Keras' MobileNetV2 without its top, filled from a layers model's weights.

    Raises:
        UserError: the weights are not this network's.

    """
    keras.backend.clear_session()
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(size, size, 3), alpha=alpha, name="backbone"
    )
    renamed = {_keras_3(name): value for name, value in weights.items()}
    for layer in base.layers:
        values = [renamed.get(f"{layer.name}/{weight.name}") for weight in layer.weights]
        for weight, value in zip(layer.weights, values, strict=True):
            if value is None or value.shape != tuple(weight.shape):
                found = "nothing" if value is None else f"{value.shape}"
                raise UserError(
                    f"no MobileNetV2 of alpha {alpha:g}: {layer.name}/{weight.name} is {tuple(weight.shape)} there, "
                    f"{found} in the file. Try another --alpha."
                )
        layer.set_weights(values)
    return base


def _keras_3(name: str) -> str:
    layer, _, weight = name.rpartition("/")
    return f"{layer}/{_KERAS_3.get(weight, weight)}"
