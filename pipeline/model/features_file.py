"""A frozen network from elsewhere as the backbone: an ONNX file that makes features of pictures (CLIP, SigLIP, DINO).

    features = FeaturesFile.open(params.backbone)
    features.predict_on_batch(pixels)   # (n, size, size, 3), 0 to 255, to (n, features)
    features.join(head, Path("model.onnx"))   # pixels to probabilities, one file

The file is checked before ONNX Runtime loads it. The classifier is one ONNX model: rescaling, its graph, and the head.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import files, onnx_graphs
from pipeline.core.errors import UserError
from pipeline.core.input_ranges import INPUT_RANGES
from pipeline.params.backbone import Backbone

INPUT, OUTPUT = "pixels", "probabilities"
_POOLED = ("image_embeds", "pooler_output")  # of several outputs (n, features), as transformers' exports name it
_FLOAT = 1  # TensorProto.FLOAT
_OPSET, _IR = 9, 8  # the head's operators need no newer opset; an older file is exported again
_PREFIX = "features/"
_EXPORT = "Export the picture's side of the network alone, from float32 pictures (n, 3, side, side) to (n, features)."


@dataclass(frozen=True)
class FeaturesFile:
    """An opened file of features.

    Attributes:
        path, params: the file, and its backbone params.
        model, session: the parsed ONNX model, and ONNX Runtime's session.
        taken, given: names of its input and of the output that is used.
        channels_first: whether its input is (n, 3, size, size).
        features: the number of features.

    """

    path: Path
    params: Backbone
    model: Any
    session: Any
    taken: str
    given: str
    channels_first: bool
    features: int

    @classmethod
    def open(cls, params: Backbone) -> "FeaturesFile":
        """Check and load the file that `params.weights` names.

        Raises:
            UserError: it is missing, has another digest, is refused, or does not make features of such pictures; or
                the packages for ONNX are not installed.

        """
        path = _verified(params)
        model, session = _load(path)
        taken, channels_first = _input(path, model, params.size)
        given = _output(path, session)
        blank = np.zeros((2, 3, params.size, params.size) if channels_first else (2, params.size, params.size, 3))
        try:
            features = session.run([given], {taken: blank.astype(np.float32)})[0]
        except Exception as error:  # ONNX Runtime raises a dozen kinds of its own
            raise UserError(f"{path} does not run on two pictures of {params.size} px ({_line(error)})") from error
        if features.ndim != 2 or len(features) != 2 or not np.isfinite(features).all():
            raise UserError(f"{path}: its output {given!r} is {features.shape} for two pictures. {_EXPORT}")
        return cls(path, params, model, session, taken, given, channels_first, features.shape[1])

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of `predict_on_batch`'s input."""
        return (None, self.params.size, self.params.size, 3)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the features."""
        return (None, self.features)

    def predict_on_batch(self, pixels: Any) -> np.ndarray:
        """Return float32 (n, features) of (n, size, size, 3) pixels, 0 to 255.

        One picture at a time: so a picture's features do not depend, in their last bits, on what else is in its batch.
        """
        scale, offset = (np.array(numbers, np.float32) for numbers in INPUT_RANGES[str(self.params.rescaling)])
        batch = np.asarray(pixels, np.float32) * scale + offset
        if self.channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        rows = [self.session.run([self.given], {self.taken: np.ascontiguousarray(row[None])})[0] for row in batch]
        return np.concatenate(rows).astype(np.float32)

    def to_json(self) -> str:
        """Return all that the features depend on beside the picture, for the cache of embeddings."""
        settings = {"sha256": files.sha256_of(self.path), "output": self.given}
        return json.dumps(settings | self.params.model_dump(exclude={"weights", "weights_sha256"}))

    def get_weights(self) -> list[np.ndarray]:
        """Return nothing, since `to_json` has the file's digest."""
        return []

    def join(self, head: Any, out: Path) -> None:
        """Write this file and a Keras head as one ONNX model: pixels (n, size, size, 3), 0 to 255, to probabilities."""
        import onnx
        from onnx import TensorProto, compose, helper

        model = compose.add_prefix(self.model, _PREFIX)
        graph = model.graph
        nodes, values = _head(head, f"{_PREFIX}{self.given}")
        before, constants = self._rescaling()
        joined = helper.make_graph(
            [*before, *graph.node, *nodes],
            "nsfw",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *self.input_shape[1:]])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", head.output_shape[-1]])],
            [*graph.initializer, *constants, *values],
            sparse_initializer=list(graph.sparse_initializer),
        )
        whole = helper.make_model(joined, opset_imports=list(model.opset_import), producer_name="nsfw-pipeline")
        whole.ir_version = max(model.ir_version, _IR)
        onnx.checker.check_model(whole)
        with files.atomic(out) as temporary:
            temporary.write_bytes(whole.SerializeToString(deterministic=True))

    def _rescaling(self) -> tuple[list[Any], list[Any]]:
        """Return nodes and values from pixels to the file's own input."""
        from onnx import helper, numpy_helper

        pairs = zip(INPUT_RANGES[str(self.params.rescaling)], ("nsfw/scale", "nsfw/offset"), strict=True)
        values = [numpy_helper.from_array(np.array(numbers, np.float32), name) for numbers, name in pairs]
        last = f"{_PREFIX}{self.taken}"
        rescaled = "nsfw/rescaled" if self.channels_first else last
        nodes = [
            helper.make_node("Mul", [INPUT, "nsfw/scale"], ["nsfw/scaled"]),
            helper.make_node("Add", ["nsfw/scaled", "nsfw/offset"], [rescaled]),
        ]
        if self.channels_first:
            nodes.append(helper.make_node("Transpose", [rescaled], [last], perm=[0, 3, 1, 2]))
        return nodes, values


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a classifier that `join` wrote as a function of (n, size, size, 3) pixels to (n, classes) probabilities.

    Raises:
        UserError: it does not exist, or is damaged.

    """
    if not path.is_file():
        raise UserError(files.missing_message(path))
    session = _load(path)[1]
    return lambda pixels: np.asarray(session.run([OUTPUT], {INPUT: np.asarray(pixels, np.float32)})[0])


def _verified(params: Backbone) -> Path:
    path = Path(str(params.weights))
    if not path.is_file():
        raise UserError(f"backbone.weights is {path}, and there is no such file. {_EXPORT}")
    if params.weights_sha256 not in {None, digest := files.sha256_of(path)}:
        raise UserError(
            f"{path} has SHA-256 {digest}, but backbone.weights_sha256 is {params.weights_sha256}. Copy it here again "
            "from where it came from. Or, if this very file is meant, set backbone.weights_sha256 to its digest."
        )
    return path


def _load(path: Path) -> tuple[Any, Any]:
    """Return the parsed model and its session."""
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError(f"{path} needs packages that are not installed: pip install 'nsfw-pipeline[onnx]'") from None
    from google.protobuf.message import DecodeError

    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise UserError(f"{path} is cut short, or no ONNX file ({_line(error)})") from None
    if reason := onnx_graphs.foreign_part(model):
        raise UserError(f"{path} is refused, nothing of it was loaded: {reason}")
    if min(entry.version for entry in model.opset_import) < _OPSET:
        raise UserError(f"{path} is of an ONNX opset below {_OPSET}. Export it again with a newer one.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen kinds of its own
        raise UserError(f"{path} is not a model that ONNX Runtime loads ({_line(error)})") from error
    return model, session


def _input(path: Path, model: Any, size: int) -> tuple[str, bool]:
    """Return the name of a model's only input, and whether its channels come first."""
    constants = {value.name for value in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != _FLOAT:
        names = ", ".join(entry.name for entry in inputs)
        raise UserError(f"{path} takes {names or 'nothing'}, not float32 pictures alone. {_EXPORT}")
    dimensions = inputs[0].type.tensor_type.shape.dim
    shape = [entry.dim_value if entry.HasField("dim_value") else None for entry in dimensions]
    for wanted, channels_first in (((3, size, size), True), ((size, size, 3), False)):
        if len(shape) == 4 and 3 in shape[1:] and all(a in {None, b} for a, b in zip(shape[1:], wanted, strict=True)):
            if shape[0] is not None:
                raise UserError(
                    f"{path} takes exactly {shape[0]} picture(s) at a time. Export it with a dynamic batch."
                )
            return inputs[0].name, channels_first
    raise UserError(f"{path} takes {shape}, but backbone.size is {size}: set it to the file's side. {_EXPORT}")


def _output(path: Path, session: Any) -> str:
    """Return the name of the output that holds the features."""
    outputs = {entry.name: entry.shape for entry in session.get_outputs()}
    flat = [name for name, shape in outputs.items() if len(shape) == 2]
    chosen = flat if len(flat) == 1 else [name for name in _POOLED if name in flat]
    if not chosen:
        listed = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise UserError(f"{path} gives {listed}: which are the features of a picture is not clear. {_EXPORT}")
    return chosen[0]


def _head(head: Any, features: str) -> tuple[list[Any], list[Any]]:
    """Return nodes and values of a Keras head of Dense layers, from the value `features` on; Dropout does nothing."""
    from onnx import helper, numpy_helper

    nodes, values, last = [], [], features
    for number, (kernel, bias, activation) in enumerate(_dense_layers(head)):
        name = f"nsfw/dense_{number}"
        values += [numpy_helper.from_array(kernel, f"{name}/kernel"), numpy_helper.from_array(bias, f"{name}/bias")]
        nodes.append(helper.make_node("Gemm", [last, f"{name}/kernel", f"{name}/bias"], [name]))
        last = OUTPUT if activation == "softmax" else f"{name}/activated"
        operator, options = {"relu": ("Relu", {}), "softmax": ("Softmax", {"axis": 1})}[activation]
        nodes.append(helper.make_node(operator, [name], [last], **options))
    return nodes, values


def _dense_layers(head: Any) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    for layer in head.layers:
        if type(layer).__name__ == "Dense":
            yield layer.kernel.numpy(), layer.bias.numpy(), layer.activation.__name__


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
