"""The registered model, as MLflow loads it: this file is logged with each version ("models from code").

model = mlflow.pyfunc.load_model("models:/nsfw@challenger")
model.predict(pd.DataFrame({"image": [Path("a.jpg").read_bytes()]}))  # a column a class, and `error`
"""

import base64
import binascii
import hashlib
import json
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModelContext

from pipeline.serving.classifier import Classifier
from pipeline.serving.networks import Adapter


class PictureModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are skipped
    """A column `image` (bytes of a picture, or their base64) to a probability a class, and `error`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, once its bytes are those that were registered."""
        model_file = Path(context.artifacts["model"])
        spec = json.loads(Path(context.artifacts["spec"]).read_text(encoding="utf-8"))
        found = digest(model_file)
        if found != spec["model_sha256"]:
            raise ValueError(f"{model_file} has sha256 {found}, but {spec['model_sha256']} was registered")
        self._classifier = Classifier(
            model_file, spec["labels"], spec["size"], Adapter.from_document(spec.get("adapter"))
        )

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return a float64 column a class (NaN where there is an error) and `error` ("" where there is none)."""
        pictures = [_bytes(value) for value in model_input["image"]]
        probabilities, errors = self._classifier.predict(pictures)
        frame = pd.DataFrame(probabilities, columns=list(self._classifier.labels), index=model_input.index)
        return frame.assign(error=errors)


def digest(path: Path) -> str:
    """Return a file's sha256, or a folder's (a SavedModel), as pipeline.tracking.lineage does, which is not carried."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def _bytes(value: object) -> bytes:
    """Return the bytes of a cell; b"" (which the classifier refuses by name) for one that holds none."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return b""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


mlflow.models.set_model(PictureModel())
