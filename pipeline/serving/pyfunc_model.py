"""The registered model, as MLflow loads it. This file is logged with each version ("models from code").

model = mlflow.pyfunc.load_model("models:/nsfw@production")
model.predict(pd.DataFrame({"image": [Path("a.jpg").read_bytes()]}))  # one column for each class, and OUTPUTS
"""

import base64
import binascii
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModelContext

from pipeline.images import sandbox
from pipeline.images.byte_source import TOO_MUCH_MEMORY, ByteReader, ByteSource, ReadResult
from pipeline.images.limits import Limits
from pipeline.serving.classifier import BATCH, Classifier
from pipeline.serving.columns import FRAMES, class_column
from pipeline.serving.decision import Decision
from pipeline.serving.networks import Adapter

_MAX_BYTES = 64 * 2**20
_SECONDS, _MEMORY_MB = 5.0, 512  # limits for one picture
_SERVES = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # set by `mlflow models serve`
_SHOWN = 5


class PictureModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are skipped
    """A column `image` (bytes of a picture, or base64) to a calibrated probability for each class, and OUTPUTS."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model.

        Raises:
            ValueError: its digest differs from the registered one.

        """
        model_file = Path(context.artifacts["model"])
        spec = json.loads(Path(context.artifacts["spec"]).read_text(encoding="utf-8"))
        sha256 = digest(model_file)
        if sha256 != spec["model_sha256"]:
            raise ValueError(f"{model_file} has sha256 {sha256}, but {spec['model_sha256']} was registered")
        decision = Decision.from_document(spec.get("decision"), spec["labels"], spec.get("unsafe", ()))
        adapter = Adapter.from_document(spec.get("adapter"))
        self._classifier = Classifier(model_file, spec["labels"], spec["size"], adapter, decision)
        limits = Limits.from_document(spec.get("limits"))
        self._reader = ByteReader(self._classifier.preprocessor(limits), _MAX_BYTES)

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a float64 column for each class, `unsafe` (their sum over the unsafe classes), and the other OUTPUTS.

        An animation has the numbers of its worst frame: `deciding_frame` is its index, `frames` the number of frames,
        and `frames_scored` how many of them were scored. If there is an error, the numbers are NaN or <NA> and the
        decision is None; else `error` is "". `params` may hold a `threshold` that replaces the version's.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a 400 in `mlflow models serve`: no picture of the request can be
                read (it names each one's problem), or the threshold is not a number 0..1.

        """
        decision = _decision(self._classifier.decision, params)
        reads = list(self._read([_bytes(value) for value in model_input["image"]]))
        errors = [read.problem for read in reads]
        if reads and all(errors) and _serves():
            raise _refusal(errors)
        probabilities, numbers = self._scores(reads)
        unsafe = decision.score(probabilities)
        columns = [class_column(label) for label in self._classifier.labels]
        frame = pd.DataFrame(probabilities, columns=columns, index=model_input.index)
        threshold = np.nan if decision.threshold is None else decision.threshold
        outcomes = pd.Series(decision.outcomes(unsafe), index=frame.index, dtype=object)
        frame = frame.assign(unsafe=unsafe, threshold=threshold, decision=outcomes)
        frame = frame.assign(**{name: pd.array(values, "Int64") for name, values in numbers.items()}, error=errors)
        # JSON has no NaN.
        return frame.astype(object).where(frame.notna(), None) if _serves() else frame

    def _read(self, pictures: Sequence[bytes]) -> Iterator[ReadResult]:
        contents = [ByteSource(data=data, weight=len(data)) for data in pictures]
        if not _may_spawn():
            yield from map(self._read_here, contents)
            return
        cost = sandbox.WorkerLimits(_SECONDS, _MEMORY_MB, len(os.sched_getaffinity(0)))
        for read in sandbox.run(self._reader.read, contents, cost, weigh=_weigh):
            yield ReadResult("", None, str(read)) if isinstance(read, sandbox.Failure) else read

    def _read_here(self, content: ByteSource) -> ReadResult:
        try:
            return self._reader.read(content)
        except MemoryError:
            return ReadResult("", None, TOO_MUCH_MEMORY)

    def _scores(self, reads: Sequence[ReadResult]) -> tuple[npt.NDArray[np.float64], dict[str, list[int | None]]]:
        """Return (n, classes) probabilities, NaN for unreadable pictures, and the columns about frames."""
        probabilities = np.full((len(reads), len(self._classifier.labels)), np.nan)
        numbers: dict[str, list[int | None]] = {name: [None] * len(reads) for name in FRAMES}
        shown = [(row, read.frames) for row, read in enumerate(reads) if read.frames is not None]
        for start in range(0, len(shown), BATCH):
            rows, pictures = zip(*shown[start : start + BATCH], strict=True)
            scores = self._classifier.classify_frames(pictures)
            probabilities[list(rows)] = scores.probabilities
            for row, picture, decided in zip(rows, pictures, scores.deciding_frames, strict=True):
                counted = (picture.total, len(picture.pixels), decided)
                for name, value in zip(FRAMES, counted, strict=True):
                    numbers[name][row] = value
        return probabilities, numbers


def digest(path: Path) -> str:
    """Return the SHA-256 of a file or a folder (a SavedModel), as pipeline.tracking.lineage does (not packaged)."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def _decision(decision: Decision, params: Mapping[str, Any] | None) -> Decision:
    """Return the version's decision, with the caller's threshold if there is one."""
    threshold = (params or {}).get("threshold")
    if threshold is None:
        return decision
    try:
        return Decision(decision.labels, decision.unsafe, decision.temperature, float(threshold))
    except (TypeError, ValueError):
        raise MlflowException.invalid_parameter_value(f"threshold must be 0 to 1, not {threshold!r}") from None


def _refusal(errors: Sequence[str]) -> MlflowException:
    reasons = "; ".join(f"picture {i}: {error}" for i, error in enumerate(errors[:_SHOWN]))
    more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    return MlflowException.invalid_parameter_value(f"no picture of this request can be read. {reasons}{more}")


def _serves() -> bool:
    return os.environ.get(_SERVES) == "true"


def _may_spawn() -> bool:
    """Whether worker processes may be started here.

    Each worker imports the main module. A script without `if __name__ == "__main__"` would run again in each, so for a
    plain script pictures are decoded in its own process; there only the limits on pixels apply.
    """
    main = sys.modules["__main__"]
    return _serves() or getattr(main, "__spec__", None) is not None or not hasattr(main, "__file__")


def _weigh(content: ByteSource) -> int:
    return content.weight


def _bytes(value: object) -> bytes:
    """Return the bytes of a cell; b"" if it holds none, which becomes the error `empty`."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return b""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


mlflow.models.set_model(PictureModel())
