"""A .keras file (a zip of a description and an HDF5 file of weights), inspected before Keras sees it.

Only what is known to be harmless is accepted here. Keras' own safe mode is the second line of defence.
"""

import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

import h5py

from pipeline.model_import import topology
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_DOCUMENT_BYTES = 32 * 2**20
_RATIO = 100  # maximum of a member's size to its compressed size; Keras itself does not compress
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3  # HDF5's own filters; any other might load a library

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
_ALLOWED = (
    {("keras.layers", name) for name in _LAYERS}
    | {("keras.initializers", name) for name in _INITIALIZERS}
    | {("keras.optimizers", name) for name in _OPTIMIZERS}  # a model inside the model may have been compiled
    | {("keras.regularizers", name) for name in ("L1", "L2", "L1L2", "OrthogonalRegularizer")}
    | {("keras.constraints", name) for name in ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm")}
    | {("keras.src.ops.numpy", name) for name in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Mean")}
    | {("keras", name) for name in (*topology.MODELS, "DTypePolicy")}
    | {("keras.models", name) for name in topology.MODELS}
    | {("keras.src.models.functional", "Functional"), ("keras.src.models.sequential", "Sequential")}
    | {("keras.src.applications.convnext", name) for name in ("LayerScale", "StochasticDepth")}
    | {(None, "__keras_tensor__"), (None, "__tuple__")}
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
    _check_magic(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive, max_bytes)
            description = read_document(path, archive.read("config.json"), "config.json")
            read_document(path, archive.read("metadata.json"), "metadata.json")
            _check_objects(path, description)
            _check_weights(path, archive, max_bytes)
    # zipfile raises NotImplementedError for an unknown compression, RuntimeError for a missing password.
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise refusal(path, f"it is cut short or broken ({error})") from None
    try:
        size, layout = side(path, topology.input_shape(description))
        return ModelInfo("keras", size, topology.classes(description), layout)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise refusal(path, f"config.json describes no model with one input and one output ({error})") from None


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        raise refusal(path, "it is a Python pickle, which can run any code. Save the model by model.save('x.keras')")
    if head == b"\x89HDF\r\n\x1a\n":
        raise refusal(path, "it is an HDF5 model of Keras 2. Load it there and save it by model.save('x.keras')")
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
        _check_hdf5(path, unpacked, max_bytes)


def _check_hdf5(path: Path, handle: IO[bytes], max_bytes: int) -> None:
    try:
        file = h5py.File(handle, "r")
    except (OSError, ValueError) as error:
        raise refusal(path, f"model.weights.h5 is cut short or no HDF5 file ({error})") from None
    with file:
        groups, seen, total = [file], set(), 0
        while groups:
            group = groups.pop()
            for name in group:
                inside = f"model.weights.h5's {group.name.rstrip('/')}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise refusal(path, f"{inside} is a link, which may lead to any file")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                # A second name for the same object could hide a cycle, or count its bytes twice.
                if address in seen:
                    raise refusal(path, f"{inside} is there under another name, too")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                else:
                    total += _dataset_bytes(path, item, inside)
                    check_bytes(path, total, max_bytes)


def _dataset_bytes(path: Path, item: Any, inside: str) -> int:
    """Return a dataset's size in memory; refuse one that is not an array of numbers stored in this file."""
    if not isinstance(item, h5py.Dataset):
        raise refusal(path, f"{inside} is no array")
    if item.is_virtual or item.external:
        raise refusal(path, f"{inside} has its values in other files")
    if item.dtype.kind not in "fiubV" or item.dtype.hasobject:
        raise refusal(path, f"{inside} holds {item.dtype}, not numbers")
    settings = item.id.get_create_plist()
    filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
    if filters - {_DEFLATE, _SHUFFLE, _FLETCHER32}:
        raise refusal(path, f"{inside} is compressed by a filter that is not HDF5's own")
    return int(item.size) * int(item.dtype.itemsize)
