"""A file of Keras 2 (a whole model in HDF5, or a .keras archive), rebuilt as a Keras 3 model.

Only the architecture and the weights are read. Losses, metrics and optimizers of its training are left where they are.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model_import import hdf5_file, keras2_model, topology
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # members of a .keras archive
_DOCUMENT_BYTES = 64 * 2**20
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the latter until TensorFlow 2.13


def inspect_hdf5(path: Path, max_bytes: int) -> ModelInfo:
    """Return what an HDF5 file states about its model; it is checked, and nothing is built.

    Raises:
        UserError: it is broken or too large, refers to other files, has no architecture or one with a layer that is not
            on the list of accepted ones, or is no picture classifier.

    """
    with path.open("rb") as handle, hdf5_file.open_checked(path, handle, path.name, max_bytes) as file:
        return inspect_description(path, _hdf5_description(path, file))


def inspect_description(path: Path, description: Mapping[str, Any]) -> ModelInfo:
    """Return what a description states, {class_name, config}; the message of an error refuses `path`.

    Raises:
        UserError: it has a layer or an option that is not accepted, or describes no picture classifier.

    """
    if description.get("class_name") not in topology.MODELS:
        raise refusal(path, f"its model is a {description.get('class_name')}, which needs its author's code")
    with keras2_model.broken_is_refused(path):
        keras2_model.check(path, description)
        size, layout = side(path, topology.input_shape(description))
        return ModelInfo("keras_2", size, topology.classes(description), layout)


def build(path: Path, max_bytes: int) -> Any:
    """Return the model of an inspected file as a Keras 3 model with its weights, float32.

    Raises:
        UserError: weights and layers do not match.

    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as handle, hdf5_file.open_checked(path, handle, path.name, max_bytes) as file:
            description = _hdf5_description(path, file)
            weights = _by_group(description, hdf5_file.arrays(file["model_weights"]))
        return keras2_model.build(path, description, weights)
    with zipfile.ZipFile(path) as archive:
        description = read_document(path, archive.read(CONFIG), CONFIG)
        with archive.open(WEIGHTS) as member, hdf5_file.open_checked(path, member, WEIGHTS, max_bytes) as file:
            weights = _by_number(description, hdf5_file.arrays(file))
    return keras2_model.build(path, description, weights)


def _hdf5_description(path: Path, file: Any) -> dict[str, Any]:
    if "model_config" not in file.attrs or "model_weights" not in file:
        raise refusal(path, "it holds weights without an architecture. Save the whole model: model.save('x.h5')")
    text = file.attrs["model_config"]
    if not isinstance(text, str | bytes):
        raise refusal(path, "its model_config is no text")
    check_bytes(path, len(text), _DOCUMENT_BYTES)
    return read_document(path, text.encode() if isinstance(text, str) else text, "model_config")


def _by_group(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights named as keras2_model takes them, from those of an HDF5 file: `group/layer/kernel:0`.

    A group is a layer of the outermost model. A plain layer's weights may have any name before the last slash, and
    those inside a model a number after the layer's name, as older versions make names unique in a session.
    """
    inner = {topology.name(layer): _inner_names(layer) for layer in topology.layers(description)}
    weights: dict[str, np.ndarray] = {}
    for full, value in arrays.items():
        group, *parts = full.removesuffix(":0").split("/")
        if inner.get(group):
            parts = [part if part in inner[group] else _without_number(part, inner[group]) for part in parts[:-1]] + [
                parts[-1]
            ]
            parts = parts[1:] if parts[0] == group else parts
        else:
            parts = parts[-1:]
        weights["/".join([group, *parts])] = value
    return weights


def _inner_names(layer: topology.Description) -> set[str]:
    """Return the names of all layers in a model, at any depth, and its own; an empty set for a plain layer."""
    if layer.get("class_name") not in topology.MODELS:
        return set()
    members = topology.layers(layer)
    deeper = (_inner_names(member) for member in members)
    return {topology.name(layer), *map(topology.name, members)}.union(*deeper)


def _without_number(part: str, names: set[str]) -> str:
    bare = re.sub(r"_\d+$", "", part)
    return bare if bare in names else part


def _by_number(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights named as keras2_model takes them, from those of an archive: `layers/conv2d_3/vars/0`.

    There a layer is called by its class and its number among the layers of its class, in the model's order.
    """
    paths = _archive_paths(description, "", "")
    weights: dict[str, np.ndarray] = {}
    for full, value in arrays.items():
        archive_path, _, index = re.sub("|".join(_CONTAINERS[1:]), _CONTAINERS[0], full).rpartition("/vars/")
        if archive_path.startswith(_CONTAINERS[0]):  # else it is of the optimizer, or a metric
            weights[f"{paths.get(archive_path, archive_path)}/vars/{index}"] = value
    return weights


def _archive_paths(model: topology.Description, above: str, above_path: str) -> dict[str, str]:
    """Return the path of every plain layer by its path in the archive."""
    counts: dict[str, int] = {}
    paths: dict[str, str] = {}
    for layer in topology.layers(model):
        kind = _snake_case(str(layer["class_name"]))
        number = counts[kind] = counts.get(kind, -1) + 1
        archive_path = f"{above}{_CONTAINERS[0]}/{kind}" + (f"_{number}" if number else "")
        layer_path = f"{above_path}{topology.name(layer)}"
        if layer["class_name"] in topology.MODELS:
            paths |= _archive_paths(layer, f"{archive_path}/", f"{layer_path}/")
        else:
            paths[archive_path] = layer_path
    return paths


def _snake_case(name: str) -> str:
    """Return a class's name as Keras 2 writes it in an archive: BatchNormalization is batch_normalization."""
    parted = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", parted).lower()
