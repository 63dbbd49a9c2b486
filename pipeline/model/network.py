"""The classifier: rescaling, backbone, global average pool and the article's head."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from pipeline.core import files
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.core.errors import UserError
from pipeline.model import backbone as backbones
from pipeline.params.backbone import Backbone
from pipeline.params.train import Train

UNITS = (256, 128)  # the article's


def head(features: int, classes: int, params: Train, seed: int) -> Any:
    """Return the article's head as a model of its own: (n, features) pooled to (n, classes) probabilities."""
    first, second = params.dropout
    he, glorot = keras.initializers.HeNormal, keras.initializers.GlorotUniform
    inputs = keras.Input((features,))
    x = keras.layers.Dense(
        UNITS[0],
        activation="relu",
        kernel_initializer=he(seed=seed),
        kernel_regularizer=keras.regularizers.L2(params.l2),
    )(inputs)
    x = keras.layers.Dropout(first, seed=seed)(x)
    x = keras.layers.Dense(UNITS[1], activation="relu", kernel_initializer=he(seed=seed + 1))(x)
    x = keras.layers.Dropout(second, seed=seed + 1)(x)
    outputs = keras.layers.Dense(
        classes, activation="softmax", kernel_initializer=glorot(seed=seed + 2), dtype="float32"
    )(x)
    return keras.Model(inputs, outputs, name="head")


def embedder(params: Backbone) -> Any:
    """Return the frozen backbone from 0..255 pixels (n, size, size, 3) to pooled features (n, features).

    Raises:
        UserError: as `backbone.build`; or the backbone is a features file, which has no network of Keras.

    """
    if params.name == FEATURES_FILE:
        raise UserError(
            f"backbone.name is {FEATURES_FILE}: it has no layers to train or search. Choose another backbone."
        )
    base = backbones.build(params)
    base.trainable = False
    scale, offset = backbones.rescaling(params)
    inputs = keras.Input((params.size, params.size, 3), name="pixels")
    x = keras.layers.Rescaling(scale, offset, name="rescaling")(inputs)
    features = base(x)
    if len(features.shape) == 4:  # otherwise the backbone has pooled them
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model(inputs, features, name="embedder")


def classifier(embed: Any, top: Any) -> Any:
    """Join an embedder and a head to one model: 0..255 pixels (n, size, size, 3) to probabilities (n, classes)."""
    return keras.Model(embed.inputs, top(embed.outputs[0]), name="classifier")


def save(model: Any, path: Path) -> None:
    """Save a model without its optimizer, whole or not at all; equal weights give equal bytes."""
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with files.atomic(path.with_suffix(".keras")) as temporary:
        named = temporary.with_suffix(".keras")  # Keras needs this ending
        try:
            bare.save(named)
            _reproducible(named, temporary)
        finally:
            named.unlink(missing_ok=True)


def _reproducible(source: Path, target: Path) -> None:
    """Copy a .keras archive (a zip without compression) without what differs from process to process.

    A fixed date stands for the date of saving, and numbers in order of appearance for objects' addresses in memory.
    """
    with zipfile.ZipFile(source) as original, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for name in original.namelist():
            data = original.read(name)
            if name == "metadata.json":
                data = json.dumps(json.loads(data) | {"date_saved": "1980-01-01@00:00:00"}).encode()
            if name == "config.json":
                data = json.dumps(_numbered(json.loads(data), {})).encode()
            copy.writestr(zipfile.ZipInfo(name), data)


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    """Return a configuration in which Keras' `shared_object_id`, an address, is a number from 0."""
    if isinstance(value, list):
        return [_numbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else _numbered(item, numbers)
        for key, item in value.items()
    }


def load(path: Path) -> Any:
    """Load a saved classifier without running any code of the file.

    Raises:
        UserError: it does not exist, or is damaged.

    """
    if not path.is_file():
        raise UserError(files.folder_message(path) if path.is_dir() else files.missing_message(path))
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, LookupError, TypeError, zipfile.BadZipFile, EOFError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is no whole Keras model ({reason}). {files.REBUILD.format(path=path)}") from None
