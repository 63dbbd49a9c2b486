"""Model files from elsewhere, of any format: guess the format, take the digest, inspect, convert or copy."""

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_of
from pipeline.model_import.inspection import Format, ModelInfo, check_bytes, read_document, refusal, refuse_on_error

_ENDINGS: dict[str, Format] = {".json": "tfjs", ".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx"}
_REBUILT = {"tfjs", "tfjs_graph", "keras_2"}
_LABEL_FILES = ("labels.txt", "class_labels.txt", "metadata.json")
_LABEL_BYTES = 2**16


def locate(path: Path, declared: Format | None) -> tuple[Path, Format]:
    """Return the model's path (for the folder of a layers model, its model.json) and its format, declared or guessed.

    Raises:
        UserError: there is nothing at this path, or it has none of the formats.

    """
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give a model.json, a .keras file, a SavedModel folder or an .onnx file."
        )
    if not (path.is_file() or path.is_dir()):
        raise refusal(path, "it is neither a file nor a folder")
    if path.is_dir() and not (path / "saved_model.pb").is_file() and (path / "model.json").is_file():
        path = path / "model.json"
    kind = declared or ("saved_model" if path.is_dir() else _ENDINGS.get(path.suffix.lower()) or _by_content(path))
    if path.is_dir() != (kind == "saved_model"):
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'a file'}, so it is no model of format {kind}")
    return path, kind


def _by_content(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(4)
    if head[:1] == b"\x80" or head == b"PK\x03\x04":
        return "keras"  # its inspection explains what is wrong with a pickle or another zip (PyTorch)
    raise UserError(
        f"{path} is of no known format. If it is one of them, say --format tfjs, keras, saved_model or onnx"
    )


def checked_digest(path: Path, kind: Format, wanted: str | None, max_bytes: int) -> str:
    """Return the SHA-256 of the model: of the file, or over the names and digests of its files.

    Raises:
        UserError: it differs from `wanted`, or the model is too large.

    """
    with refuse_on_error(path):
        files = parts(path, kind)
    check_bytes(path, sum(file.stat().st_size for file in files), max_bytes)
    sha256 = _digest(path, files)
    if wanted is not None and sha256 != wanted.lower().removeprefix("sha256:"):
        raise refusal(path, f"its SHA-256 is {sha256}, and --sha256 says {wanted}: it is another file, or was changed")
    return sha256


def parts(path: Path, kind: Format) -> list[Path]:
    """Return the files that make up the model."""
    if kind in {"tfjs", "tfjs_graph"}:
        from pipeline.model_import.tfjs_weights import shards

        check_bytes(path, path.stat().st_size, 64 * 2**20)
        return [path, *shards(path)]
    if kind == "saved_model":
        from pipeline.model_import import saved_model

        return saved_model.parts(path)
    return [path]


def _digest(path: Path, files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of several that of a folder with just these files, as in tracking.lineage."""
    root = path if path.is_dir() else path.parent
    digests = {}
    for file in files:
        digests[file.relative_to(root).as_posix()] = sha256_of(file)
    if files == [path]:
        return digests[path.name]
    lines = (f"{file.relative_to(root).as_posix()}" for file in sorted(files))
    return hashlib.sha256("".join(f"{name}\0{digests[name]}\n" for name in lines).encode()).hexdigest()


def inspect(job: tuple[Format, Path, int]) -> ModelInfo:
    """Inspect a model: (format, path, maximum size in bytes). Each format has its module.

    Raises:
        UserError: the file is refused.

    """
    kind, path, max_bytes = job
    with refuse_on_error(path):
        return _inspector(kind)(path, max_bytes)


def _inspector(kind: Format) -> Callable[[Path, int], ModelInfo]:
    if kind == "tfjs":
        from pipeline.model_import import layers_model

        return layers_model.inspect
    if kind == "keras":
        from pipeline.model_import import keras_file

        return keras_file.inspect
    if kind == "saved_model":
        from pipeline.model_import import saved_model

        return saved_model.inspect
    from pipeline.model_import import onnx_file

    return onnx_file.inspect


def convert(path: Path, kind: Format, target: Path, sha256: str, max_bytes: int) -> None:
    """Rebuild a model of TensorFlow.js or of Keras 2 at `target`, or copy a model of another format there.

    Raises:
        UserError: it cannot be rebuilt, or it has changed since its inspection.

    """
    if kind == "tfjs_graph":
        from pipeline.model_import import graph_model

        with refuse_on_error(path):
            graph_model.save(path, max_bytes, target)
    elif build := _builder(kind):
        with refuse_on_error(path):
            model = build(path, max_bytes)
        model.save(target)
    else:
        for file in parts(path, kind):
            copy = target / file.relative_to(path) if path.is_dir() else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    whole = path if kind in _REBUILT else target
    if _digest(whole, parts(whole, kind)) != sha256:
        raise refusal(path, "it changed while it was read. Run this again when nothing writes to it")


def _builder(kind: Format) -> Callable[[Path, int], Any] | None:
    """Return the function that rebuilds a model of this format as a Keras 3 model; None if it is loaded as it is."""
    if kind == "tfjs":
        from pipeline.model_import import layers_model

        return layers_model.build
    if kind == "keras_2":
        from pipeline.model_import import keras2_file

        return keras2_file.build
    return None


def labels_beside(path: Path, kind: Format) -> tuple[str, ...] | None:
    """Return the classes that a file in the model's folder names: labels.txt, class_labels.txt or metadata.json.

    A line of a text file may begin with its number, as Teachable Machine writes it.

    Raises:
        UserError: such a file is not a list of names.

    """
    folder = path if kind == "saved_model" else path.parent
    for file in (folder / name for name in _LABEL_FILES):
        if not file.is_file():
            continue
        check_bytes(file, file.stat().st_size, _LABEL_BYTES)
        if file.suffix == ".txt":
            # Windows' editors begin a file with a byte order mark, which is no part of the first name.
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            names = [re.sub(r"^\d+[\s:]+", "", line.strip()) for line in lines if line.strip()]
        else:
            names = read_document(file, file.read_bytes(), file.name).get("labels", [])
            if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
                raise refusal(path, f"the labels in {file} are no list of names")
        if names:
            return tuple(str(name) for name in names)
    return None
