"""A model that exists elsewhere becomes a version of the registered model: inspected, converted, tried, registered.

Whatever runs today is so the first to be challenged: `nsfw import-model model.json`. Nothing of the file is loaded
before its inspection, in a process of its own, has found it harmless.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence import collecting, scoring
from pipeline.images import sandbox
from pipeline.model_import import loading
from pipeline.model_import.inspection import Format
from pipeline.model_import.options import Rescaling, Said, Stated, agree
from pipeline.params.root import Params
from pipeline.promotion.registration import register_with_evidence
from pipeline.registry.model_versions import Registration
from pipeline.registry.package import Candidate
from pipeline.serving.networks import Adapter, Triple, load_network
from pipeline.tracking.lineage import digest
from pipeline.tracking.run_record import RunRecord, flatten

Job = TypeVar("Job")
Result = TypeVar("Result")

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's models take it
_RESCALING: dict[str, tuple[Triple, Triple]] = {
    "none": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "unit": ((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0)),
    "symmetric": ((1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0)),
    "imagenet": (
        (1 / 255 / _DEVIATION[0], 1 / 255 / _DEVIATION[1], 1 / 255 / _DEVIATION[2]),
        (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
    ),
}
_KINDS: dict[Format, Literal["keras", "saved_model", "onnx"]] = {
    "tfjs": "keras",
    "keras": "keras",
    "saved_model": "saved_model",
    "onnx": "onnx",
}
_FILES = {"keras": paths.MODEL_FILE, "saved_model": "saved_model", "onnx": "model.onnx"}
ALIAS = "incumbent"  # the challenger's stays with what was trained here
_SECONDS = 300.0  # of an inspection, or of a first load
_BASE_MB = 8192  # of memory that TensorFlow's and ONNX' imports may map


@dataclass(frozen=True)
class Incumbent:
    """A model of others, ready to be judged and registered.

    Attributes:
        folder: its finished run record.
        model: its name in there.
        adapter: what lies between it and our pixels and labels.
        size: side of its square input, px.
        labels: ours, in the order of the adapter's answer.
        classes: the file's own, in the order of its outputs.
        stated: where the file's order is known from: `said`, `file`, or `params` (assumed to be that of params.yaml).
        format: what the file was.
        rescaling: what the model takes.
        sha256: the file's digest; that of a folder's files as tracking.lineage takes it.
        origin: the file's name.

    """

    folder: Path
    model: str
    adapter: Adapter
    size: int
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    stated: Stated
    format: Format
    rescaling: Rescaling
    sha256: str
    origin: str

    @property
    def model_file(self) -> Path:
        """The model, as serving.networks loads it."""
        return self.folder / self.model


def import_model(path: Path, params: Params, said: Said, *, name: str | None = None) -> tuple[Incumbent, Registration]:
    """Prepare a model of others, judge it on this project's test set, and make it a version; twice is one version.

    It goes through the same evaluation as a model of ours (`evidence.collect`), on the original pictures at its own
    size.

    Raises:
        UserError: the file is refused, there is no test set to judge it on, or MLflow does not take it.

    """
    incumbent = prepare(path, params, said)
    score = load_network(incumbent.model_file, incumbent.adapter, incumbent.size, len(incumbent.labels))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        predictions = scoring.predictions_from_shards(score, incumbent.size, ("val", "test"), params)
        document = collecting.collect(score, incumbent.size, predictions, params)
        document["model_sha256"] = digest(incumbent.model_file)
        collecting.write(document, predictions, folder)
        asked = candidate(incumbent, params, figures(document), name=name)
        done, _ = register_with_evidence(asked, folder, params)
    if done.pending:
        raise UserError(f"the model is sound, but not registered: {done.problem}. Run the same command again.")
    return incumbent, done


def figures(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an evidence that the version's tags show, under the names that `register` gives ours."""
    kept = {name: value for name, value in document["summary"].items() if name != "confusion"}
    numbers = {name.replace(".", "/"): value for name, value in flatten(kept).items()}
    return {name: float(value) for name, value in numbers.items() if type(value) in {int, float}}


def to_document(incumbent: Incumbent, done: Registration) -> dict[str, Any]:
    """Return what was found and done, for JSON."""
    return {
        "origin": incumbent.origin,
        "format": incumbent.format,
        "sha256": incumbent.sha256,
        "classes": list(incumbent.classes),
        "classes_stated_by": incumbent.stated,
        "labels": list(incumbent.labels),
        "size": incumbent.size,
        "rescaling": incumbent.rescaling,
        "adapter": incumbent.adapter.to_document(),
        "record": str(incumbent.folder),
        "model": done.model,
        "version": done.version,
        "uri": done.uri,
    }


def describe(incumbent: Incumbent, done: Registration) -> list[str]:
    """Return the same as lines to print."""
    sources = {
        "said": "as --classes says",
        "file": "as it says itself",
        "params": "ASSUMED to be the order of labels.names in params.yaml; --classes states another",
    }
    return [
        f"{incumbent.origin}: {incumbent.format}, {incumbent.size} px, rescaling {incumbent.rescaling}",
        f"sha256 {incumbent.sha256}",
        f"its outputs are {', '.join(incumbent.classes)} ({sources[incumbent.stated]})",
        f"registered: {done.uri}, alias {done.alias}",
        f"next: nsfw gates {done.version}; nsfw promote {done.version} --reason 'what runs today' --override ...",
    ]


def candidate(incumbent: Incumbent, params: Params, measured: Mapping[str, float], *, name: str | None) -> Candidate:
    """Return what is to be registered."""
    return Candidate(
        folder=incumbent.folder,
        name=name or params.register_.model,
        alias=ALIAS,
        labels=incumbent.labels,
        unsafe=params.labels.unsafe,
        size=incumbent.size,
        rescaling=incumbent.rescaling,
        evidence=measured,
        model=incumbent.model,
        adapter=incumbent.adapter.to_document(),
    )


def prepare(path: Path, params: Params, said: Said | None = None) -> Incumbent:
    """Inspect a model of others, convert or copy it, try it on a few pictures; return it in a finished run record.

    The same file under the same words gives the same record again.

    Raises:
        UserError: it is refused; the message names the file and why, and nothing was loaded if it says so.

    """
    said = said or Said()
    path, kind = loading.locate(path.absolute(), said.format)  # the other process may be in another folder
    sha256 = loading.checked_digest(path, kind, said.sha256, said.max_mb * 2**20)
    found = _apart(loading.inspect, (kind, path, said.max_mb * 2**20), path, said.max_mb)
    labels = params.labels.names
    terms = agree(path, found, said, labels)
    scale, offset = _RESCALING[terms.rescaling]
    adapter = Adapter(
        kind=_KINDS[kind],
        scale=scale,
        offset=offset,
        layout=found.layout,
        channels=said.channels,
        outputs=said.outputs,
        order=terms.order,
    )
    renamed = ",".join(f"{theirs}={ours}" for theirs, ours in sorted(said.renamed.items()))
    words: dict[str, Any] = {"map": renamed}
    words |= {"file": path.name, "sha256": sha256, "format": kind, "classes": terms.classes, "labels": labels}
    words |= {"size": terms.size, "rescaling": terms.rescaling, "channels": said.channels, "outputs": said.outputs}
    folder = _known(words) or _recorded(path, adapter, words, said.max_mb)
    return Incumbent(
        folder=folder,
        model=_FILES[adapter.kind],
        adapter=adapter,
        size=terms.size,
        labels=labels,
        classes=terms.classes,
        stated=terms.stated,
        format=kind,
        rescaling=terms.rescaling,
        sha256=sha256,
        origin=path.name,
    )


def _apart(function: Callable[[Job], Result], job: Job, path: Path, max_mb: int) -> Result:
    """Run in a process of its own: what reads the file is C code, and may be led to crash or to fill the memory."""
    limits = sandbox.Limits(seconds=_SECONDS, memory_mb=_BASE_MB + 4 * max_mb)
    (outcome,) = sandbox.run(function, [job], limits)
    if isinstance(outcome, sandbox.Failure):
        raise UserError(f"{path} is refused: reading it ended in {outcome}")
    return outcome


def _known(words: Mapping[str, Any]) -> Path | None:
    """Return the record of the same import, if it was done before."""
    params = flatten({"import": words})
    for folder in sorted(paths.RUNS.glob("*-import-*")):
        record = RunRecord.load(folder)
        whole = any((folder / name).exists() for name in _FILES.values())
        if whole and record.status == "FINISHED" and record.document.get("params") == params:
            return folder
    return None


def _recorded(path: Path, adapter: Adapter, words: Mapping[str, Any], max_mb: int) -> Path:
    """Convert or copy the model, try it, and put it into a new record, which is finished; return its folder."""
    paths.CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.CACHE, prefix=".import-") as scratch:
        model = Path(scratch).absolute() / _FILES[adapter.kind]
        _apart(_take, (path, model, adapter, words, max_mb), path, max_mb)
        with RunRecord.start("import", params={"import": words}, inputs=[], name=f"import {path.name}") as record:
            shutil.move(model, record.folder / model.name)
    return record.folder


def _take(job: tuple[Path, Path, Adapter, Mapping[str, Any], int]) -> None:
    """Convert or copy (path, to, ...) and ask the model about grey and about noise.

    Raises:
        UserError: it cannot be loaded, or its answers are no probabilities.

    """
    path, model, adapter, words, max_mb = job
    loading.convert(path, words["format"], model, words["sha256"], max_mb * 2**20)
    size, classes = words["size"], len(words["labels"])
    pixels = np.full((3, size, size, 3), 128, np.uint8)
    pixels[1:] = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    try:
        answer = load_network(model, adapter, size, classes)(pixels)
    except UserError as error:
        raise UserError(f"{path} is refused: {str(error).replace(str(model), 'it')}") from None
    except Exception as error:  # noqa: BLE001 -- each library raises its own where a graph does not work out
        raise UserError(f"{path} is refused: it gives no answer ({' '.join(str(error).split())[:300]})") from None
    if answer.shape != (3, classes) or not np.isfinite(answer).all():
        raise UserError(
            f"{path}: its answers to three pictures are not {classes} finite numbers each. Was it cut short?"
        )
    if answer.min() < -1e-4 or np.abs(answer.sum(axis=1) - 1).max() > 1e-2:
        shown = ", ".join(f"{value:.3g}" for value in answer[0])
        raise UserError(f"{path}: its answers ({shown}) are no probabilities. If they are logits, say --outputs logits")
