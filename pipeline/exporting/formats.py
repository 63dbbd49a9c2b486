"""The export formats: the file of each, its packages, how it is written, and how it is run."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import UserError
from pipeline.exporting import graph, onnx_files, onnx_quantization
from pipeline.exporting.graph import INPUT, OUTPUT, Source
from pipeline.exporting.onnx_quantization import Quantization

Format = Literal["savedmodel", "onnx", "litert"]
Run = Callable[[np.ndarray], np.ndarray]

FILES: dict[Format, str] = {"savedmodel": "saved_model", "onnx": "model.onnx", "litert": "model.tflite"}
RUNTIMES: dict[Format, str] = {"savedmodel": "tensorflow", "onnx": "onnxruntime", "litert": "ai-edge-litert"}
_PACKAGES: dict[Format, tuple[str, ...]] = {
    "savedmodel": (),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}


def check(kind: Format, how: Quantization) -> None:
    """Check format and quantization before any work is done.

    Raises:
        UserError: the format has no such quantization, or a package is not installed.

    """
    from importlib.util import find_spec

    if kind == "savedmodel" and how != "none":
        raise UserError(f"a SavedModel is not quantized ({how}); onnx and litert are. Leave --quantize out.")
    lacking = [name for name in _PACKAGES[kind] if find_spec(name) is None]
    if lacking:
        raise UserError(
            f"--format {kind} needs {', '.join(lacking).replace('_', '-')}, which is not installed: "
            "`uv sync --extra export`, or `pip install 'nsfw-pipeline[export]'`."
        )


def convert(kind: Format, source: Source, how: Quantization, folder: Path) -> Path:
    """Write the model into `folder` in another format; return its path.

    Raises:
        UserError: the model cannot be turned into that format.

    """
    path = folder / FILES[kind]
    with _quiet_converters():
        {"savedmodel": _to_saved_model, "onnx": _to_onnx, "litert": _to_litert}[kind](source, how, path)
    return path


def load(kind: Format, path: Path) -> Run:
    """Return an exported model as a function: float32 (n, size, size, 3), 0 to 255, to (n, classes) probabilities."""
    return {"savedmodel": _run_saved_model, "onnx": _run_onnx, "litert": _run_litert}[kind](path)


@contextmanager
def _quiet_converters() -> Iterator[None]:
    """Silence the converters, which log about a hundred lines."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _to_saved_model(source: Source, _: Quantization, path: Path) -> None:
    import tensorflow as tf

    built = graph.build(source)
    module = tf.Module()
    module.serve, module.held = built.answer, built.held
    tf.saved_model.save(module, str(path), signatures={"serving_default": built.answer})


def _to_onnx(source: Source, how: Quantization, path: Path) -> None:
    theirs = source.adapter.kind == "onnx"
    model = onnx_files.from_file(source) if theirs else onnx_files.from_graph(graph.build(source))
    onnx_files.write(onnx_quantization.quantize(model, how), path)


def _to_litert(source: Source, how: Quantization, path: Path) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.build(source).frozen()])
    if how != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if how == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # the converter raises a class of its own, which TensorFlow does not export
        raise UserError(f"this model has no LiteRT form ({' '.join(str(error).split())[:300]})") from error


def _run_saved_model(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]

    def run(pixels: np.ndarray, alive: Any = model) -> np.ndarray:  # noqa: ARG001 -- a signature does not keep its variables alive
        return np.asarray(signature(**{INPUT: tf.constant(pixels)})[OUTPUT])

    return run


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0] == 1

    def run(pixels: np.ndarray) -> np.ndarray:
        parts = [pixels[k : k + 1] for k in range(len(pixels))] if fixed else [pixels]
        return np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])

    return run


def _run_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0)))
    taken, given = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]

    def run(pixels: np.ndarray) -> np.ndarray:
        model.resize_tensor_input(taken, pixels.shape)
        model.allocate_tensors()
        model.set_tensor(taken, pixels)
        model.invoke()
        return np.array(model.get_tensor(given))

    return run
