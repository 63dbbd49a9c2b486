"""Exports a registered version as a folder for another runtime, if it gives the same numbers there.

export(open_model(params), params, Job("onnx", out=Path("exported/nsfw")))
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evidence import scoring
from pipeline.exporting import example, formats, parity
from pipeline.exporting.formats import Format, Run
from pipeline.exporting.graph import INPUT, OUTPUT, Source
from pipeline.exporting.onnx_quantization import Quantization
from pipeline.images.limits import Limits
from pipeline.images.resize import SQUASH
from pipeline.serving.networks import Adapter
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params
    from pipeline.registry.verification import OpenedModel
    from pipeline.serving.classifier import Classifier
    from pipeline.serving.decision import Decision

SIDECAR = "export.json"
SCHEMA = 1
DEFAULT = Path("exported")
_BATCH = 32
_NOT_IN_EXAMPLE = {"HEIF", "TIFF"}  # the example program uses Pillow alone, and reads grey of 8 and 16 bits only


@dataclass(frozen=True)
class Job:
    """What to export: the format, the quantization, the folder (None: a folder named after the version)."""

    format: Format
    quantize: Quantization = "none"
    out: Path | None = None


@dataclass(frozen=True)
class Export:
    """The result: the folder (None if refused), the content of export.json, and the limits that were exceeded."""

    folder: Path | None
    sidecar: dict[str, Any]
    failures: tuple[str, ...]
    decision: Decision

    def to_document(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        folder = None if self.folder is None else str(self.folder)
        return {**self.sidecar, "folder": folder, "failures": list(self.failures)}

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        facts = self.sidecar
        head = f"{facts['model']} version {facts['version'] or '-'} as {facts['format']}"
        head += "" if facts["quantize"] == "none" else f", {facts['quantize']}"
        size = f"{facts['bytes'] / 1e6:.2f} MB, {facts['bytes'] / facts['source_bytes']:.2f} of the registered file"
        text = [f"{head}: {size}", *parity.lines(facts["parity"], self.decision)]
        if self.decision.threshold is None:
            text.append("the version carries no threshold: evaluate and register it again for one")
        if self.folder is None:
            return [*text, *(f"REFUSED: {failure}" for failure in self.failures), "nothing was written"]
        return [*text, f"wrote {self.folder}", f"next: python {self.folder / example.FILE} PICTURE..."]


def export(version: OpenedModel, params: Params, job: Job) -> Export:
    """Convert a version, compare both on the test pictures, and write the folder if the limits of `export` hold.

    The folder holds the model, export.json (input, output, and the differences), and the example program classify.py
    with its requirements.txt. It appears whole or not at all.

    Raises:
        UserError: version, format, quantization or folder cannot be used, or there is no test picture.

    """
    formats.check(job.format, job.quantize)
    out = job.out or DEFAULT / _name(version, job)
    _check_free(out)
    classifier = version.classifier()
    decision = classifier.decision
    with _scratch(out) as folder:
        source = _source(version, classifier)
        path = formats.convert(job.format, source, job.quantize, folder)
        ours = params.labels
        match = LabelMatch(classifier.labels, decision.unsafe, ours.names, ours.unsafe)
        before, after, classes = _compare(classifier, formats.load(job.format, path), params)
        cost = parity.report(before, after, match.truth(classes), match, decision, params.evaluate.confidence)
        failures = parity.failures(cost, params.export, quantized=job.quantize != "none")
        document = _sidecar(version, job, path, params) | {"parity": cost}
        if failures:
            return Export(None, document, tuple(failures), decision)
        files.write_json(document, folder / SIDECAR)
        files.write_text(example.text(job.format), folder / example.FILE)
        files.write_text(example.requirements(job.format), folder / example.REQUIREMENTS)
        _publish(folder, out)
    return Export(out, document, (), decision)


def _name(version: OpenedModel, job: Job) -> str:
    quantized = () if job.quantize == "none" else (job.quantize,)
    number = str(version.version) if version.version else str(version.spec["model_sha256"])[:12]  # of a folder
    return "-".join((Path(version.model).name, number, job.format, *quantized))


def _check_free(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UserError(f"{out} exists already. Delete it, or choose another --out.")


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`; remove those that killed runs have left."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{out.name}.*.tmp"):
        if not Path(f"/proc/{left.name.split('.')[-2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, out: Path) -> None:
    try:
        folder.rename(out)
    except OSError as error:
        raise UserError(f"{out} was created in the meantime, or cannot be written ({error.strerror}).") from error


def _source(version: OpenedModel, classifier: Classifier) -> Source:
    adapter = Adapter.from_document(version.spec.get("adapter"))
    if adapter.resize != SQUASH:
        raise UserError(
            f"version {version.version} takes pictures that are cut or padded ({adapter.resize.mode}), which the "
            "example that goes with an export does not do. Serve it by `nsfw serve`, or export another version."
        )
    classes, temperature = len(classifier.labels), classifier.decision.temperature
    return Source(version.model_file, adapter, classifier.size, classes, temperature)


_Floats = npt.NDArray[np.floating[Any]]


def _compare(classifier: Classifier, run: Run, params: Params) -> tuple[_Floats, _Floats, pd.Series]:
    """Return (n, labels) probabilities of the model and of its export for the test pictures, and their classes."""
    rows, chunks = scoring.pictures_of("test", classifier.size, params, params.export.pictures)
    if rows.empty:
        raise UserError("there is no test picture to compare the export on. Run `dvc repro split`.")
    before, after = [], []
    with tqdm(total=len(rows), desc="compare", unit="picture", disable=None) as bar:
        for chunk in chunks:
            for batch in (chunk[start : start + _BATCH] for start in range(0, len(chunk), _BATCH)):
                before.append(classifier.classify(batch).probabilities)
                after.append(run(batch.astype(np.float32)))
                bar.update(len(batch))
    return np.concatenate(before), np.concatenate(after), rows["label"]


def _sidecar(version: OpenedModel, job: Job, path: Path, params: Params) -> dict[str, Any]:
    decision, size = version.decision, int(version.spec["size"])
    catalog = params.catalog
    limits = version.limits(Limits(**catalog.limits))
    return {
        "schema": SCHEMA,
        "model": Path(version.model).name,  # for a version given as a folder, the folder's name
        "version": version.version or None,
        "model_sha256": digest(version.model_file),
        "format": job.format,
        "quantize": job.quantize,
        "file": path.name,
        "sha256": digest(path),
        "bytes": _bytes(path),
        "source_bytes": _bytes(version.model_file),
        "labels": list(decision.labels),
        "unsafe": list(decision.unsafe),
        "threshold": decision.threshold,
        "temperature": decision.temperature,  # already part of the graph; for information
        "size": size,
        "input": {"name": INPUT, "shape": ["n", size, size, 3], "dtype": "float32", "range": [0, 255], "order": "RGB"},
        "output": {"name": OUTPUT, "shape": ["n", len(decision.labels)], "dtype": "float32", "calibrated": True},
        "max_frames": limits.max_frames,
        "formats": [name for name in limits.formats if name not in _NOT_IN_EXAMPLE],
        "max_pixels": limits.max_pixels,
        "doubts": list(version.doubts),
    }


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
