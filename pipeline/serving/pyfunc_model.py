"""The registered model, as MLflow loads it: this file is logged with each version ("models from code").

model = mlflow.pyfunc.load_model("models:/nsfw@production")
model.predict(pd.DataFrame({"image": [Path("a.jpg").read_bytes()]}))  # a column a class, and OUTPUTS
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
from pipeline.images.byte_source import TOO_MUCH_MEMORY, Content, Read, Reading
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Squaring
from pipeline.serving.classifier import BATCH, Classifier
from pipeline.serving.decision import Decision
from pipeline.serving.networks import Adapter

_FRAMES = ("frames", "frames_scored", "deciding_frame")
OUTPUTS = ("unsafe", "threshold", "decision", *_FRAMES, "error")
_MAX_BYTES = 64 * 2**20
_SECONDS, _MEMORY_MB = 5.0, 512  # of a picture
_SERVES = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's own sign: `mlflow models serve`
_SHOWN = 5


class PictureModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are skipped
    """A column `image` (bytes of a picture, or their base64) to a calibrated probability a class, and OUTPUTS."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, once its bytes are those that were registered."""
        model_file = Path(context.artifacts["model"])
        spec = json.loads(Path(context.artifacts["spec"]).read_text(encoding="utf-8"))
        found = digest(model_file)
        if found != spec["model_sha256"]:
            raise ValueError(f"{model_file} has sha256 {found}, but {spec['model_sha256']} was registered")
        decision = Decision.from_document(spec.get("decision"), spec["labels"], spec.get("unsafe", ()))
        adapter = Adapter.from_document(spec.get("adapter"))
        self._classifier = Classifier(model_file, spec["labels"], spec["size"], adapter, decision)
        limits = Limits.from_document(spec.get("limits"))
        self._reading = Reading(Squaring(limits, spec["size"]), _MAX_BYTES)

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a float64 column a class, `unsafe` (their sum over the unsafe ones), and the others of OUTPUTS.

        Of an animation the numbers are those of `deciding_frame` (from 0): its worst, of the `frames_scored` that were
        looked at of `frames`. Where there is an error the numbers are NaN or <NA> and the decision is None; `error` is
        "" where there is none.
        `params` may hold another `threshold` than the version's.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a 400 of `mlflow models serve`, which names each picture's
                problem: no picture of a request can be read; or the threshold is no number 0..1.

        """
        decision = _decision(self._classifier.decision, params)
        reads = list(self._read([_bytes(value) for value in model_input["image"]]))
        errors = [read.problem for read in reads]
        if reads and all(errors) and _serves():
            raise _refusal(errors)
        probabilities, numbers = self._answers(reads)
        unsafe = decision.score(probabilities)
        columns = [column(label) for label in self._classifier.labels]
        frame = pd.DataFrame(probabilities, columns=columns, index=model_input.index)
        threshold = np.nan if decision.threshold is None else decision.threshold
        verdicts = pd.Series(decision.verdicts(unsafe), index=frame.index, dtype=object)
        frame = frame.assign(unsafe=unsafe, threshold=threshold, decision=verdicts)
        frame = frame.assign(**{name: pd.array(values, "Int64") for name, values in numbers.items()}, error=errors)
        # JSON has no NaN.
        return frame.astype(object).where(frame.notna(), None) if _serves() else frame

    def _read(self, pictures: Sequence[bytes]) -> Iterator[Read]:
        contents = [Content(data=data, weight=len(data)) for data in pictures]
        if not _may_spawn():
            yield from map(self._read_here, contents)
            return
        cost = sandbox.Limits(_SECONDS, _MEMORY_MB, len(os.sched_getaffinity(0)))
        for read in sandbox.run(self._reading.read, contents, cost, weigh=_weigh):
            yield Read("", None, str(read)) if isinstance(read, sandbox.Failure) else read

    def _read_here(self, content: Content) -> Read:
        try:
            return self._reading.read(content)
        except MemoryError:
            return Read("", None, TOO_MUCH_MEMORY)

    def _answers(self, reads: Sequence[Read]) -> tuple[npt.NDArray[np.float64], dict[str, list[int | None]]]:
        """Return the probabilities, NaN where there are none, and the columns that tell of frames."""
        probabilities = np.full((len(reads), len(self._classifier.labels)), np.nan)
        numbers: dict[str, list[int | None]] = {name: [None] * len(reads) for name in _FRAMES}
        shown = [(row, read.frames) for row, read in enumerate(reads) if read.frames is not None]
        for start in range(0, len(shown), BATCH):
            rows, pictures = zip(*shown[start : start + BATCH], strict=True)
            scores = self._classifier.classify_frames(pictures)
            probabilities[list(rows)] = scores.probabilities
            for row, picture, decided in zip(rows, pictures, scores.deciding_frames, strict=True):
                counted = (picture.total, len(picture.squares), decided)
                for name, value in zip(_FRAMES, counted, strict=True):
                    numbers[name][row] = value
        return probabilities, numbers


def column(label: str) -> str:
    """Return a class's column: its name, or p_<name> where that is one of OUTPUTS."""
    return f"p_{label}" if label in OUTPUTS else label


def digest(path: Path) -> str:
    """Return a file's sha256, or a folder's (a SavedModel), as pipeline.tracking.lineage does, which is not carried."""
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
    told = "; ".join(f"picture {place}: {error}" for place, error in enumerate(errors[:_SHOWN]))
    more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    return MlflowException.invalid_parameter_value(f"no picture of this request can be read. {told}{more}")


def _serves() -> bool:
    return os.environ.get(_SERVES) == "true"


def _may_spawn() -> bool:
    """Whether worker processes may be started here.

    They import the main module anew. A script that does not guard itself by `if __name__ == "__main__"` would run
    again in each; so what a plain script asks about is decoded in its own process, within the limits of pixels.
    """
    main = sys.modules["__main__"]
    return _serves() or getattr(main, "__spec__", None) is not None or not hasattr(main, "__file__")


def _weigh(content: Content) -> int:
    return content.weight


def _bytes(value: object) -> bytes:
    """Return the bytes of a cell; b"" (which the classifier refuses by name) for one that holds none."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return b""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


mlflow.models.set_model(PictureModel())
