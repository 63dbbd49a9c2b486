"""A loaded network of any format behind one call: pixels 0 to 255 in, probabilities in the order of our labels out.

network = load_network(Path("build/finetuned/model.keras"), Adapter(), size=96, classes=5)
probabilities = network(pixels)  # (n, 96, 96, 3) to (n, 5)

This file is packaged with every registered model, so it imports only the library of the model's own format.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from pipeline.core.errors import UserError
from pipeline.images.resize import SQUASH, Resize
from pipeline.model.traced import traced

Network = Callable[[np.ndarray], np.ndarray]
Triple = tuple[float, float, float]

_MISSING = "{path} needs a package that is not installed: pip install 'nsfw-pipeline[onnx]'"


@dataclass(frozen=True)
class Adapter:
    """Converts between our pixels and labels and a network's own. The default is for our own models: no conversion.

    Attributes:
        kind: the library that loads it.
        scale, offset: for each channel, in the network's order: its input is pixels * scale + offset.
        layout: axis order of its input.
        channels: order of its input's channels.
        outputs: what it returns; logits go through a softmax. `probability` and `logit`: one output, the last of two
            labels (a logit goes through a sigmoid); the first one has what is left to 1.
        resize: how a picture becomes the square that it takes.
        order: for each of our labels, indices of the network's outputs that add up to it; None if the outputs are our
            labels.

    """

    kind: Literal["keras", "saved_model", "onnx"] = "keras"
    scale: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    layout: Literal["nhwc", "nchw"] = "nhwc"
    channels: Literal["rgb", "bgr"] = "rgb"
    outputs: Literal["probabilities", "logits", "probability", "logit"] = "probabilities"
    resize: Resize = SQUASH
    order: tuple[tuple[int, ...], ...] | None = None

    def to_document(self) -> dict[str, Any]:
        """Return all fields, for JSON; a plain `resize` is left out, as earlier versions of this program have none."""
        document = asdict(self)
        document |= {"scale": list(self.scale), "offset": list(self.offset)}
        if self.resize == SQUASH:
            del document["resize"]
        return document | {"order": None if self.order is None else [list(outputs) for outputs in self.order]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Return the adapter that a document holds; for None, that of our own models.

        Raises:
            ValueError: a field is unknown, because a later version wrote it, or invalid.

        """
        values = dict(document or {})
        strangers = sorted(values.keys() - {field.name for field in fields(cls)})
        if strangers:
            raise ValueError(f"the adapter has {', '.join(strangers)}, which this version does not know")
        for name in ("scale", "offset"):
            if name in values:
                values[name] = tuple(map(float, values[name]))
        if "resize" in values:
            values["resize"] = Resize(**values["resize"])
        if values.get("order") is not None:
            values["order"] = tuple(tuple(map(int, outputs)) for outputs in values["order"])
        return cls(**values)

    @property
    def single(self) -> bool:
        """Whether the network has one output, for two labels."""
        return self.outputs in ("probability", "logit")

    @property
    def width(self) -> int | None:
        """Minimum number of outputs that the network must have; None: as many as there are labels."""
        if self.single:
            return 1
        return None if self.order is None else 1 + max(index for outputs in self.order for index in outputs)

    def to_network(self, pixels: np.ndarray) -> np.ndarray:
        """Return the network's input, float32, for RGB (n, size, size, 3) pixels 0 to 255."""
        batch = pixels.astype(np.float32)
        if self.channels == "bgr":
            batch = batch[..., ::-1]
        if self.scale != (1.0, 1.0, 1.0) or self.offset != (0.0, 0.0, 0.0):
            batch = batch * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if self.layout == "nchw" else batch)

    def to_labels(self, answer: np.ndarray) -> np.ndarray:
        """Return (n, labels) probabilities for a network's (n, outputs) answer."""
        if self.outputs == "logits":
            answer = np.exp(answer - answer.max(axis=1, keepdims=True))
            answer = answer / answer.sum(axis=1, keepdims=True)
        if self.outputs == "logit":
            answer = 1 / (1 + np.exp(-np.clip(answer, -80, 80)))  # float32's exponential overflows at 89
        if self.single:
            answer = np.concatenate([1 - answer, answer], axis=1)
        if self.order is None:
            return answer
        return np.stack([answer[:, list(outputs)].sum(axis=1) for outputs in self.order], axis=1)


def load_network(path: Path, adapter: Adapter, size: int, classes: int) -> Network:
    """Load a network; return a function from (n, size, size, 3) pixels 0 to 255 to float32 (n, classes) probabilities.

    Raises:
        UserError: the file is missing, its library cannot load it safely, or its shapes do not match.

    """
    if not path.exists():
        raise UserError(f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing.")
    load = {"keras": _keras, "saved_model": _saved_model, "onnx": _onnx}[adapter.kind]
    raw, taken, given = load(path)
    outputs = adapter.width or classes
    wanted = (None, 3, size, size) if adapter.layout == "nchw" else (None, size, size, 3)
    if not (_fits(taken, wanted) and _fits(given, (None, outputs))) or len(adapter.order or ()) not in {0, classes}:
        raise UserError(f"{path} maps {taken} to {given}; {size} px and {outputs} labels were said")
    return lambda pixels: adapter.to_labels(raw(adapter.to_network(pixels)))


_Loaded = tuple[Network, tuple[int | None, ...], tuple[int | None, ...]]


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a network's shape, batch first, accepts the wanted one; None accepts any size."""
    return len(shape) == len(wanted) and all(
        want is None or size in {None, want} for size, want in zip(shape, wanted, strict=True)
    )


def _keras(path: Path) -> _Loaded:
    import keras

    try:
        model = keras.saving.load_model(path, safe_mode=True, compile=False)
        shapes = tuple(model.input_shape), tuple(model.output_shape)
    except Exception as error:  # a broken archive raises KeyError, BadZipFile, TypeError, ValueError...
        raise UserError(f"{path} is not a model that Keras reads safely ({_first_line(error)})") from error
    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch, *shapes
    predict = traced(model)
    return lambda batch: np.asarray(predict(batch)), *shapes


def _saved_model(path: Path) -> _Loaded:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
        signature = model.signatures["serving_default"]
        ((name, taken),) = signature.structured_input_signature[1].items()
        ((output, given),) = signature.structured_outputs.items()
        shapes = tuple(taken.shape.as_list()), tuple(given.shape.as_list())
    except Exception as error:  # TensorFlow raises its own, OSError, KeyError, ValueError...
        raise UserError(f"{path} is not a SavedModel that TensorFlow loads ({_first_line(error)})") from error

    def predict(batch: np.ndarray, alive: Any = model) -> np.ndarray:  # noqa: ARG001 -- a signature does not keep its variables alive
        return np.asarray(signature(**{name: tf.constant(batch)})[output])

    return predict, *shapes


def _onnx(path: Path) -> _Loaded:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError(_MISSING.format(path=path)) from None

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        (taken,), (given,) = session.get_inputs(), session.get_outputs()
    except Exception as error:  # ONNX Runtime raises a dozen kinds of its own
        raise UserError(f"{path} is not a model that ONNX Runtime loads ({_first_line(error)})") from error
    fixed = taken.shape[0] if isinstance(taken.shape[0], int) else None

    def predict(batch: np.ndarray) -> np.ndarray:
        if fixed is None or len(batch) == fixed:
            return np.asarray(session.run([given.name], {taken.name: batch})[0])
        parts = []
        for start in range(0, len(batch), fixed):  # the model takes exactly `fixed` pictures: pad the last batch
            part = batch[start : start + fixed]
            padded = np.concatenate([part, np.zeros((fixed - len(part), *part.shape[1:]), np.float32)])
            parts.append(np.asarray(session.run([given.name], {taken.name: padded})[0])[: len(part)])
        return np.concatenate(parts)

    return predict, _sizes(taken.shape), _sizes(given.shape)


def _sizes(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
