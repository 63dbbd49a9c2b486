"""A model as the registry takes it: weights, serving code, signature and requirements in one MLflow model."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.core import code_digests, paths
from pipeline.core.files import write_json
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from pipeline.tracking.mlflow_facts import ID_TAG
from pipeline.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

SHA_TAG = "nsfw.model_sha256"
TEMPERATURE_TAG, THRESHOLD_TAG = "nsfw.temperature", "nsfw.threshold"
SPEC_FILE = "model.json"  # among a version's artifacts
# All that serving imports: the model loads anywhere with these, and with its own format's.
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow")
_FORMATS = {"keras": ("tensorflow", "keras"), "saved_model": ("tensorflow",), "onnx": ("onnxruntime",)}
_ENTRY = "pipeline.serving.pyfunc_model"
# Columns beside a class each, as serving.pyfunc_model has them.
_OUTPUTS = ("unsafe", "threshold", "decision", "frames", "frames_scored", "deciding_frame", "error")


@dataclass(frozen=True)
class Candidate:
    """A model to register: the finished run record that holds it, where it goes, and what a caller must know of it.

    Attributes:
        folder: the run record that holds the model.
        name: the registered model.
        alias: what is to point at the version.
        labels: class names, in the order of the model's outputs.
        unsafe: those of them that a moderator must not miss.
        size: side of the square input, px; values 0 to 255.
        rescaling: what the model itself does to them: `symmetric` [-1, 1] or `unit` [0, 1].
        evidence: test metrics, each 0 to 1, under flat names such as `recall/porn`.
        model: the model's name in the folder: a file, or a SavedModel's folder.
        adapter: what lies between a model of others and our pixels and labels, as `serving.networks.Adapter` writes
            it; None for our own models.
        decision: how its answers are read, as `serving.decision.Decision` writes it; None where no evidence tells.
        limits: what a picture may be, as `images.limits.Limits` has it; None: its defaults.

    """

    folder: Path
    name: str
    alias: str
    labels: tuple[str, ...]
    unsafe: tuple[str, ...]
    size: int
    rescaling: str
    evidence: Mapping[str, float]
    model: str = paths.MODEL_FILE
    adapter: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    limits: Mapping[str, Any] | None = None

    @property
    def model_file(self) -> Path:
        """The model: a file, or a SavedModel's folder."""
        return self.folder / self.model

    def to_document(self) -> dict[str, Any]:
        """Return all but the folder, for JSON."""
        document = asdict(self)
        del document["folder"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], folder: Path) -> Self | None:
        """Return the candidate that build/registered.json asks for, or None if `folder` holds another model by now."""
        request = dict(document["request"])
        if document["model_sha256"] != digest(folder / request.get("model", paths.MODEL_FILE)):
            return None
        return cls(folder=folder, **request | {key: tuple(request[key]) for key in ("labels", "unsafe")})


def log_model(client: MlflowClient, candidate: Candidate, record: RunRecord, run_id: str) -> str:
    """Log the candidate as a model of the run; return its id. It is READY once all of it is there."""
    import mlflow
    from mlflow.models import Model

    sha256 = digest(candidate.model_file)
    # Model.log itself would make it in the default experiment, whatever the run's.
    model = client.create_logged_model(
        server.experiment_id(client),
        name=candidate.name,
        source_run_id=run_id,
        tags={SHA_TAG: sha256, ID_TAG: record.id} | decision_tags(candidate),
        params=client.get_run(run_id).data.params,
    )
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
        spec = Path(scratch) / SPEC_FILE
        write_json(_spec(candidate, record, sha256), spec)
        Model.log(
            artifact_path=None,
            name=candidate.name,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model.model_id,
            python_model=str(code_digests.module_file(_ENTRY)),
            artifacts={"model": str(candidate.model_file.resolve()), "spec": str(spec)},
            code_paths=[str(_code(Path(scratch)))],
            signature=_signature(candidate),
            pip_requirements=requirements(candidate),
        )
    return str(model.model_id)


def requirements(candidate: Candidate) -> list[str]:
    """Return what has to be installed where the model is loaded, pinned to what is installed here."""
    kind = (candidate.adapter or {}).get("kind", "keras")
    return [f"{package}=={version(package)}" for package in (*_REQUIREMENTS, *_FORMATS[kind])]


def decision_tags(candidate: Candidate) -> dict[str, str]:
    """Return the operating point as tags; {} where none is known. Six digits: the last ones are the machine's."""
    if candidate.decision is None:
        return {}
    threshold = candidate.decision["threshold"]
    shown = "none" if threshold is None else f"{threshold:.6g}"
    return {TEMPERATURE_TAG: f"{candidate.decision['temperature']:.6g}", THRESHOLD_TAG: shown}


def _spec(candidate: Candidate, record: RunRecord, sha256: str) -> dict[str, Any]:
    return {
        "labels": candidate.labels,
        "unsafe": candidate.unsafe,
        "size": candidate.size,
        "rescaling": candidate.rescaling,
        "adapter": candidate.adapter,
        "decision": candidate.decision,
        "limits": candidate.limits,
        "file": candidate.model,
        "model_sha256": sha256,
        "record_id": record.id,
    }


def _code(scratch: Path) -> Path:
    """Copy the modules that the served model imports, and nothing else, into a folder of the package's name."""
    package = code_digests.PACKAGE
    for module in code_digests.closure(_ENTRY):
        source = code_digests.module_file(module)
        target = scratch / source.relative_to(package.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        for folder in target.relative_to(scratch).parents[:-1]:
            shutil.copyfile(package.parent / folder / "__init__.py", scratch / folder / "__init__.py")
    return scratch / package.name


def _signature(candidate: Candidate) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    threshold = None if candidate.decision is None else candidate.decision["threshold"]
    names = [f"p_{label}" if label in _OUTPUTS else label for label in candidate.labels]
    outputs = [ColSpec("double", name) for name in (*names, "unsafe", "threshold")]
    outputs += [ColSpec("string", "decision", required=False)]
    outputs += [ColSpec("long", name, required=False) for name in ("frames", "frames_scored", "deciding_frame")]
    outputs += [ColSpec("string", "error")]
    return ModelSignature(
        inputs=Schema([ColSpec("binary", "image")]),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("threshold", "double", threshold)]),
    )
