"""Import a model from elsewhere as a version of the registered model: inspect, convert, try, evaluate, register.

`nsfw import-model model.json` makes the model that runs today the first one to be challenged. The file is inspected in
a process of its own, and loaded only if the inspection finds it harmless.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence import collecting, scoring
from pipeline.evidence.document import Document
from pipeline.images import sandbox
from pipeline.images.resize import SQUASH
from pipeline.model_import import loading
from pipeline.model_import.incumbent import Incumbent
from pipeline.model_import.inspection import Format
from pipeline.model_import.options import ImportOptions, ResolvedImport, match_labels, resolve
from pipeline.params.root import Params
from pipeline.promotion.registration import register_with_evidence
from pipeline.registry.model_versions import Registration
from pipeline.registry.package import Candidate
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking.lineage import digest
from pipeline.tracking.record_document import flatten
from pipeline.tracking.run_record import RunRecord

Job = TypeVar("Job")
Result = TypeVar("Result")

_KINDS: dict[Format, Literal["keras", "saved_model", "onnx"]] = {
    "tfjs": "keras",
    "keras": "keras",
    "keras_2": "keras",
    "tfjs_graph": "saved_model",
    "saved_model": "saved_model",
    "onnx": "onnx",
}
_FILES = {"keras": paths.MODEL_FILE, "saved_model": "saved_model", "onnx": "model.onnx"}
ALIAS = "incumbent"  # the alias `challenger` stays with models that were trained here
_SECONDS = 300.0  # time limit of an inspection, and of a first load
_BASE_MB = 8192  # memory that importing TensorFlow and ONNX may map


def import_model(
    path: Path, params: Params, options: ImportOptions, *, name: str | None = None
) -> tuple[Incumbent, Registration]:
    """Prepare a model from elsewhere, evaluate it on this project's test set, and register it as a version.

    The evaluation is that of our own models (`evidence.collecting`), on the original pictures at the model's own size.
    Importing the same file twice gives one version.

    Raises:
        UserError: the file is refused, there is no test set, or MLflow does not accept it.

    """
    incumbent = prepare(path, params, options)
    score = load_network(incumbent.model_file, incumbent.adapter, incumbent.size, len(incumbent.labels))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        resize, splits = incumbent.adapter.resize, scoring.judged_splits()
        predictions = scoring.predictions_from_shards(score, incumbent.size, splits, params, incumbent.labels, resize)
        sha256 = digest(incumbent.model_file)
        document = collecting.collect(score, sha256, incumbent.size, predictions, params, incumbent.match, resize)
        collecting.write(document, predictions, folder)
        request = candidate(incumbent, params, figures(document), name=name)
        registration, _ = register_with_evidence(request, folder, params)
    if registration.pending:
        raise UserError(f"the model is sound, but not registered: {registration.problem}. Run the same command again.")
    return incumbent, registration


def figures(document: Document) -> dict[str, float]:
    """Return the metrics of an evidence document that become tags of the version, named as `register` names them."""
    summary = {name: value for name, value in document.summary.to_json().items() if name != "confusion"}
    numbers = {name.replace(".", "/"): value for name, value in flatten(summary).items()}
    return {name: float(value) for name, value in numbers.items() if type(value) in {int, float}}


def candidate(incumbent: Incumbent, params: Params, measured: Mapping[str, float], *, name: str | None) -> Candidate:
    """Return the candidate to register; `measured` are its metrics."""
    return Candidate(
        folder=incumbent.folder,
        name=name or params.register_.model,
        alias=ALIAS,
        labels=incumbent.labels,
        unsafe=params.labels.unsafe if incumbent.match.same else incumbent.match.unsafe,
        size=incumbent.size,
        rescaling=incumbent.rescaling,
        evidence=measured,
        model=incumbent.model,
        adapter=incumbent.adapter.to_document(),
    )


def prepare(path: Path, params: Params, options: ImportOptions | None = None) -> Incumbent:
    """Inspect a model from elsewhere, convert or copy it, try it on a few pictures; return it in a finished run record.

    The same file with the same options gives the same record again.

    Raises:
        UserError: the file is refused; the message names the file and the reason, and says if nothing was loaded.

    """
    options = options or ImportOptions()
    match = match_labels(options, params.labels)
    # Absolute, as the sandbox worker may have another working directory.
    path, kind = loading.locate(path.absolute(), options.format)
    sha256 = loading.checked_digest(path, kind, options.sha256, options.max_mb * 2**20)
    info = _in_sandbox(loading.inspect, (kind, path, options.max_mb * 2**20), path, options.max_mb)
    kind = info.format
    resolved = resolve(path, info, options, match.labels)
    adapter = Adapter(
        kind=_KINDS[kind],
        scale=resolved.scale,
        offset=resolved.offset,
        layout=info.layout,
        channels=options.channels,
        outputs=resolved.outputs,
        resize=options.resize,
        order=resolved.order,
    )
    settings = {"file": path.name, "sha256": sha256, "format": kind, "labels": match.labels}
    settings |= _settings(options, resolved) | ({} if match.same else {"unsafe": match.unsafe})
    folder = _earlier_record(settings) or _new_record(path, adapter, settings, options.max_mb)
    return Incumbent(
        folder=folder,
        model=_FILES[adapter.kind],
        adapter=adapter,
        size=resolved.size,
        match=match,
        classes=resolved.classes,
        class_source=resolved.class_source,
        format=kind,
        rescaling=resolved.rescaling,
        sha256=sha256,
        origin=path.name,
    )


def _settings(options: ImportOptions, resolved: ResolvedImport) -> dict[str, Any]:
    """Return what the run record shows of the options, and what identifies an earlier import with the same ones."""
    # Only where it was given, so that the records of earlier versions of this program are recognized.
    given = {"mean": options.mean, "deviation": options.deviation}
    resize = {} if options.resize == SQUASH else {"resize": options.resize.mode, "resize_side": options.resize.side}
    return (
        {name: ",".join(map(str, value)) for name, value in given.items() if value}
        | resize
        | {
            "map": ",".join(f"{theirs}={ours}" for theirs, ours in sorted(options.renamed.items())),
            "classes": resolved.classes,
            "size": resolved.size,
            "rescaling": resolved.rescaling,
            "channels": options.channels,
            "outputs": resolved.outputs,
        }
    )


def _in_sandbox(function: Callable[[Job], Result], job: Job, path: Path, max_mb: int) -> Result:
    """Run in a process of its own, as C code reads the file and may be made to crash or to fill the memory."""
    limits = sandbox.WorkerLimits(seconds=_SECONDS, memory_mb=_BASE_MB + 4 * max_mb)
    (outcome,) = sandbox.run(function, [job], limits)
    if isinstance(outcome, sandbox.Failure):
        raise UserError(f"{path} is refused: reading it ended in {outcome}")
    return outcome


def _earlier_record(settings: Mapping[str, Any]) -> Path | None:
    """Return the record of an earlier import with the same settings, if there is one."""
    params = flatten({"import": settings})
    for folder in sorted(paths.RUNS.glob("*-import-*")):
        record = RunRecord.load(folder)
        whole = any((folder / name).exists() for name in _FILES.values())
        if whole and record.status == "FINISHED" and record.document.get("params") == params:
            return folder
    return None


def _new_record(path: Path, adapter: Adapter, settings: Mapping[str, Any], max_mb: int) -> Path:
    """Convert or copy the model, try it, and put it into a new finished record; return the record's folder."""
    paths.CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.CACHE, prefix=".import-") as scratch:
        model = Path(scratch).absolute() / _FILES[adapter.kind]
        _in_sandbox(_convert_and_try, (path, model, adapter, settings, max_mb), path, max_mb)
        with RunRecord.start("import", params={"import": settings}, inputs=[], name=f"import {path.name}") as record:
            shutil.move(model, record.folder / model.name)
    return record.folder


def _convert_and_try(job: tuple[Path, Path, Adapter, Mapping[str, Any], int]) -> None:
    """Convert or copy a model, and check its outputs for a grey picture and two of noise.

    Args:
        job: the file, the path to write to, the adapter, the settings of the import, the maximum size in MiB.

    Raises:
        UserError: it cannot be loaded, or its outputs are not probabilities.

    """
    path, model, adapter, settings, max_mb = job
    loading.convert(path, settings["format"], model, settings["sha256"], max_mb * 2**20)
    size, classes = settings["size"], len(settings["labels"])
    pixels = np.full((3, size, size, 3), 128, np.uint8)
    pixels[1:] = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    try:
        answer = load_network(model, adapter, size, classes)(pixels)
    except UserError as error:
        raise UserError(f"{path} is refused: {str(error).replace(str(model), 'it')}") from None
    except Exception as error:  # noqa: BLE001 -- each library has its own errors for a broken graph
        raise UserError(f"{path} is refused: it gives no answer ({' '.join(str(error).split())[:300]})") from None
    if answer.shape != (3, classes) or not np.isfinite(answer).all():
        raise UserError(
            f"{path}: its answers to three pictures are not {classes} finite numbers each. Was it cut short?"
        )
    if answer.min() < -1e-4 or np.abs(answer.sum(axis=1) - 1).max() > 1e-2:
        shown = ", ".join(f"{value:.3g}" for value in answer[0])
        raise UserError(f"{path}: its answers ({shown}) are no probabilities. If they are logits, say --outputs logits")
