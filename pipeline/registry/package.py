"""Packages a model for the registry: weights, serving code, signature and requirements in one MLflow model."""

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
from pipeline.serving.columns import FRAMES, class_column
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
# Everything that serving imports, except the packages of the model's own format.
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow")
# What each kind of model file needs beside that.
_PACKAGES = {"keras": ("tensorflow", "keras"), "saved_model": ("tensorflow",), "onnx": ("onnxruntime",)}
_ENTRY = "pipeline.serving.pyfunc_model"


@dataclass(frozen=True)
class Candidate:
    """A model to register: its finished run record, the target in the registry, and what callers must know about it.

    Attributes:
        folder: the run record that holds the model.
        name: the registered model.
        alias: the alias to set on the version.
        labels: class names, in the order of the model's outputs.
        unsafe: those of them that a moderator must not miss.
        size: side of the square input, px; values 0 to 255.
        rescaling: the range that the model itself turns them into, of `core.input_ranges`.
        evidence: test metrics, each 0 to 1, under flat names such as `recall/porn`.
        model: the model's name in the folder: a file, or a SavedModel's folder.
        adapter: how a foreign model's input and outputs map to our pixels and labels, as `serving.networks.Adapter`
            writes it; None for our own models.
        decision: temperature and threshold, as `serving.decision.Decision` writes them; None if not known.
        limits: which pictures are accepted, as `images.limits.Limits` has it; None for its defaults.

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
        """Return the candidate of build/registered.json, or None if `folder` holds another model now."""
        request = dict(document["request"])
        if document["model_sha256"] != digest(folder / request.get("model", paths.MODEL_FILE)):
            return None
        return cls(folder=folder, **request | {key: tuple(request[key]) for key in ("labels", "unsafe")})


def log_model(client: MlflowClient, candidate: Candidate, record: RunRecord, run_id: str) -> str:
    """Log the candidate as a model of the run; return its id. Its status becomes READY when it is complete."""
    import mlflow
    from mlflow.models import Model

    sha256 = digest(candidate.model_file)
    # Model.log itself would create it in the default experiment instead of the run's.
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
    """Return the packages that loading the model needs, pinned to the versions installed here."""
    kind = (candidate.adapter or {}).get("kind", "keras")
    return [f"{package}=={version(package)}" for package in (*_REQUIREMENTS, *_PACKAGES[kind])]


def decision_tags(candidate: Candidate) -> dict[str, str]:
    """Return the operating point as tags; {} if none is known. Six digits: the last ones depend on the machine."""
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
    """Copy only the modules that the served model imports into a package folder; return it."""
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
    names = [class_column(label) for label in candidate.labels]
    outputs = [ColSpec("double", name) for name in (*names, "unsafe", "threshold")]
    outputs += [ColSpec("string", "decision", required=False)]
    outputs += [ColSpec("long", name, required=False) for name in FRAMES]
    outputs += [ColSpec("string", "error")]
    return ModelSignature(
        inputs=Schema([ColSpec("binary", "image")]),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("threshold", "double", threshold)]),
    )
