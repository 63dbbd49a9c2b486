"""A .keras file (a zip of a description and an HDF5 file of weights), inspected before Keras sees it.

Files of Keras 2, which have the same endings, are told apart by their content, and passed on to `keras2_file`.

Only what is known to be harmless is accepted here. Keras' own safe mode is the second line of defence.
"""

import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.model_import import hdf5_file, keras2_file, topology
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_DOCUMENT_BYTES = 32 * 2**20
_RATIO = 100  # maximum of a member's size to its compressed size; Keras itself does not compress

_LAYERS = topology.MODELS | frozenset(
    {
        *("Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "AveragePooling2D"),
        *("BatchNormalization", "CenterCrop", "Concatenate", "Conv2D", "Conv2DTranspose", "Cropping2D", "Dense"),
        *("DepthwiseConv2D", "Dot", "Dropout", "ELU", "Flatten", "GaussianDropout", "GaussianNoise"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "GroupNormalization", "Identity", "InputLayer"),
        *("LayerNormalization", "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum", "MultiHeadAttention", "Multiply"),
        *("Normalization", "PReLU", "Permute", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip"),
        *("RandomRotation", "RandomTranslation", "RandomZoom", "ReLU", "Rescaling", "Reshape", "Resizing"),
        *("SeparableConv2D", "Softmax", "SpatialDropout2D", "Subtract", "UnitNormalization", "UpSampling2D"),
        "ZeroPadding2D",
    }
)
_INITIALIZERS = {
    *("Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "LecunNormal", "LecunUniform"),
    *("Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros"),
}
_OPTIMIZERS = {"Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop", "SGD"}
_OPERATIONS = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Mean", "GetItem", "Flip", "Stack"}
_CONSTANTS = ("__numpy__", "__tensor__")  # ImageNet's mean of each channel, say
_CONSTANT_NUMBERS = 4096
_ALLOWED = (
    {("keras.layers", name) for name in _LAYERS}
    | {("keras.initializers", name) for name in _INITIALIZERS}
    | {("keras.optimizers", name) for name in _OPTIMIZERS}  # a model inside the model may have been compiled
    | {("keras.regularizers", name) for name in ("L1", "L2", "L1L2", "OrthogonalRegularizer")}
    | {("keras.constraints", name) for name in ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm")}
    | {("keras.src.ops.numpy", name) for name in _OPERATIONS}
    | {("keras", name) for name in (*topology.MODELS, "DTypePolicy")}
    | {("keras.models", name) for name in topology.MODELS}
    | {("keras.src.models.functional", "Functional"), ("keras.src.models.sequential", "Sequential")}
    | {("keras.src.applications.convnext", name) for name in ("LayerScale", "StochasticDepth")}
    | {(None, name) for name in ("__keras_tensor__", "__tuple__", "__slice__", "__ellipsis__", *_CONSTANTS)}
)
_WHY = {
    "Lambda": "it is Python code",
    "function": "it is a Python function",
    "__lambda__": "it is Python code",
    "TFSMLayer": "it loads a SavedModel from wherever it likes",
}
_LARGEST = {"units": 2**17, "filters": 2**17, "batch_shape": 2**12, "target_shape": 2**20}


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what the file states about its model; nothing is deserialized.

    Raises:
        UserError: it is broken or too large, or is not a picture classifier made of plain Keras layers.

    """
    check_bytes(path, path.stat().st_size, max_bytes)
    if _is_hdf5(path):
        return keras2_file.inspect_hdf5(path, max_bytes)
    _check_magic(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive, max_bytes)
            description = read_document(path, archive.read("config.json"), "config.json")
            metadata = read_document(path, archive.read("metadata.json"), "metadata.json")
            _check_weights(path, archive, max_bytes)
            if str(metadata.get("keras_version")).startswith("2."):
                return keras2_file.inspect_description(path, description)
            _check_objects(path, description)
    # zipfile raises NotImplementedError for an unknown compression, RuntimeError for a missing password.
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise refusal(path, f"it is cut short or broken ({error})") from None
    try:
        size, layout = side(path, topology.input_shape(description))
        return ModelInfo("keras", size, topology.classes(description), layout)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise refusal(path, f"config.json describes no model with one input and one output ({error})") from None


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == hdf5_file.MAGIC


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        raise refusal(path, "it is a Python pickle, which can run any code. Save the model by model.save('x.keras')")
    if head[:4] != b"PK\x03\x04":
        raise refusal(path, "it is not a .keras file: it is no zip archive")


def _check_members(path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        _check_member(path, entry)
    if len(set(names)) < len(names):
        raise refusal(path, "its archive holds a name twice")
    if set(names) != _MEMBERS:
        odd = ", ".join(sorted(set(names) ^ _MEMBERS))
        raise refusal(path, f"its archive holds not just {', '.join(sorted(_MEMBERS))} (too many or missing: {odd})")
    check_bytes(path, sum(entry.file_size for entry in entries), max_bytes)
    for entry in entries:
        if entry.filename.endswith(".json"):
            check_bytes(path / entry.filename, entry.file_size, _DOCUMENT_BYTES)


def _check_member(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or ":" in name:
        raise refusal(path, f"its archive holds {name!r}, a path that leads out of it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise refusal(path, f"its archive holds a link, {name!r}")
    if entry.flag_bits & 1:
        raise refusal(path, f"its archive's {name!r} is encrypted")
    if entry.file_size > _RATIO * max(entry.compress_size, 1024):
        raise refusal(
            path,
            f"its archive's {name!r} unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes: a zip bomb",
        )


def _check_objects(path: Path, description: dict[str, Any]) -> None:
    """Refuse any object, at any depth, that Keras would build and that is not on the list."""
    # The compile_config of the outer model is ignored, as it is loaded with compile=False.
    waiting: list[tuple[Any, str]] = [({**description, "compile_config": None}, "the model")]
    while waiting:
        node, where = waiting.pop()
        if isinstance(node, list):
            waiting.extend((value, where) for value in node)
        if not isinstance(node, dict):
            continue
        here = topology.name(node) or where
        if "class_name" in node:
            _check_object(path, node, here)
        for key, value in node.items():
            _check_number(path, key, value, here)
            waiting.append((value, here))


def _check_object(path: Path, node: dict[str, Any], where: str) -> None:
    kind, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if isinstance(kind, str) and kind in _WHY:
        raise refusal(path, f"{where!r} holds a {kind}: {_WHY[kind]}")
    if registered is not None and registered != kind:
        raise refusal(path, f"{where!r} holds {registered!r}, a custom class, which needs its author's code")
    known = isinstance(kind, str) and isinstance(module, str | None) and (module, kind) in _ALLOWED
    if not known:
        raise refusal(path, f"{where!r} holds {module}.{kind}, which is not on the list of accepted layers")
    if kind in _CONSTANTS:
        _check_constant(path, node.get("config"), where)


def _check_constant(path: Path, config: Any, where: str) -> None:
    """Refuse a constant of a function's call that is more than a few plain numbers."""
    value, dtype = (config.get("value"), config.get("dtype")) if isinstance(config, dict) else (None, None)
    waiting, numbers = [value], 0
    while waiting and numbers <= _CONSTANT_NUMBERS:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif type(one) not in {int, float}:
            raise refusal(path, f"{where!r} holds a constant that is no list of numbers")
        numbers += 1
    if numbers > _CONSTANT_NUMBERS or dtype not in {"float16", "bfloat16", "float32", "float64", "int32", "int64"}:
        raise refusal(path, f"{where!r} holds a constant of more than {_CONSTANT_NUMBERS} numbers, or of dtype {dtype}")


def _check_number(path: Path, key: str, value: Any, where: str) -> None:
    """Refuse sizes that would fill the memory when the layer is built."""
    largest = _LARGEST.get(key)
    values = value if isinstance(value, list) else [value]
    if largest and any(isinstance(number, int | float) and number > largest for number in values):
        raise refusal(path, f"{where!r} has {key} {value}; the limit is {largest:,}")


def _check_weights(path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
    with tempfile.TemporaryFile() as unpacked:
        with archive.open("model.weights.h5") as member:
            left = max_bytes
            while chunk := member.read(2**20):  # count the real size, whatever the archive declares
                left -= len(chunk)
                check_bytes(path, max_bytes - left, max_bytes)
                unpacked.write(chunk)
        unpacked.seek(0)
        kinds = hdf5_file.NUMBERS + hdf5_file.BFLOAT16
        with hdf5_file.open_checked(path, unpacked, "model.weights.h5", max_bytes, kinds):
            pass
