"""A registered version as a folder for another runtime, written only where it gives the same numbers.

export(open_model(params), params, Job("onnx", out=Path("exported/nsfw")))
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.evidence import scoring
from pipeline.exporting import example, formats, parity
from pipeline.exporting.formats import Format, Run
from pipeline.exporting.graph import INPUT, OUTPUT, Source
from pipeline.exporting.onnx_files import Quantization
from pipeline.images.limits import Limits
from pipeline.serving.networks import Adapter
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params
    from pipeline.registry.verification import Verified
    from pipeline.serving.classifier import Classifier
    from pipeline.serving.decision import Decision

SIDECAR = "export.json"
SCHEMA = 1
DEFAULT = Path("exported")
_BATCH = 32
_NOT_IN_EXAMPLE = {"HEIF", "TIFF"}  # its program needs Pillow alone, and knows grey of 8 and of 16 bits


@dataclass(frozen=True)
class Job:
    """What is asked for: the format, the quantization, the folder (None: one that names the version)."""

    format: Format
    quantize: Quantization = "none"
    out: Path | None = None


@dataclass(frozen=True)
class Export:
    """What came of it: the folder, or None where it was refused; the sidecar; what is past the limits."""

    folder: Path | None
    sidecar: dict[str, Any]
    failures: tuple[str, ...]
    decision: Decision

    def to_document(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        folder = None if self.folder is None else str(self.folder)
        return {**self.sidecar, "folder": folder, "failures": list(self.failures)}

    def lines(self) -> list[str]:
        """Return it for a terminal."""
        told = self.sidecar
        head = f"{told['model']} version {told['version'] or '-'} as {told['format']}"
        head += "" if told["quantize"] == "none" else f", {told['quantize']}"
        size = f"{told['bytes'] / 1e6:.2f} MB, {told['bytes'] / told['source_bytes']:.2f} of the registered file"
        text = [f"{head}: {size}", *parity.lines(told["parity"], self.decision)]
        if self.decision.threshold is None:
            text.append("the version carries no threshold: evaluate and register it again for one")
        if self.folder is None:
            return [*text, *(f"REFUSED: {failure}" for failure in self.failures), "nothing was written"]
        return [*text, f"wrote {self.folder}", f"next: python {self.folder / example.FILE} PICTURE..."]


def export(version: Verified, params: Params, job: Job) -> Export:
    """Convert a version, ask both about the test pictures, and write the folder if the limits of `export` hold.

    The folder holds the model, export.json (what it takes and gives, and what it costs), and classify.py with its
    requirements.txt, which uses it. It appears whole or not at all.

    Raises:
        UserError: the version, the format, the quantization or the folder will not do; or there is no test picture.

    """
    formats.check(job.format, job.quantize)
    out = job.out or DEFAULT / _name(version, job)
    _check_free(out)
    classifier = version.classifier()
    decision = classifier.decision
    with _scratch(out) as folder:
        source = _source(version, classifier)
        path = formats.convert(job.format, source, job.quantize, folder)
        before, after, truth = _ask(classifier, formats.load(job.format, path), params)
        cost = parity.report(before, after, truth, decision, params.evaluate.confidence)
        failures = parity.failures(cost, params.export, quantized=job.quantize != "none")
        document = _sidecar(version, job, path, params) | {"parity": cost}
        if failures:
            return Export(None, document, tuple(failures), decision)
        files.write_json(document, folder / SIDECAR)
        files.write_text(example.text(job.format), folder / example.FILE)
        files.write_text(example.requirements(job.format), folder / example.REQUIREMENTS)
        _publish(folder, out)
    return Export(out, document, (), decision)


def _name(version: Verified, job: Job) -> str:
    quantized = () if job.quantize == "none" else (job.quantize,)
    number = str(version.version) if version.version else str(version.spec["model_sha256"])[:12]  # of a folder
    return "-".join((Path(version.model).name, number, job.format, *quantized))


def _check_free(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UserError(f"{out} exists already. Delete it, or choose another --out.")


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`, gone afterwards; and remove those of runs that were killed."""
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
        raise UserError(f"{out} has come to exist meanwhile, or cannot be written ({error.strerror}).") from error


def _source(version: Verified, classifier: Classifier) -> Source:
    adapter = Adapter.from_document(version.spec.get("adapter"))
    classes, temperature = len(classifier.labels), classifier.decision.temperature
    return Source(version.model_file, adapter, classifier.size, classes, temperature)


_Floats = npt.NDArray[np.floating[Any]]


def _ask(classifier: Classifier, run: Run, params: Params) -> tuple[_Floats, _Floats, npt.NDArray[np.int64]]:
    """Return what the registered model, and its export, say of the test pictures, and the pictures' labels' places."""
    rows, chunks = scoring.pictures_of("test", classifier.size, params, params.export.pictures)
    labels = rows["label"].tolist()
    strangers = sorted(set(labels) - set(classifier.labels))
    if strangers or not labels:
        raise UserError(
            f"there is no test picture to compare the export on, or their labels ({', '.join(strangers) or 'none'}) "
            f"are not the version's: {', '.join(classifier.labels)}."
        )
    before, after = [], []
    with tqdm(total=len(labels), desc="compare", unit="picture", disable=None) as bar:
        for chunk in chunks:
            for batch in (chunk[start : start + _BATCH] for start in range(0, len(chunk), _BATCH)):
                before.append(classifier.classify(batch).probabilities)
                after.append(run(batch.astype(np.float32)))
                bar.update(len(batch))
    return np.concatenate(before), np.concatenate(after), np.array([classifier.labels.index(name) for name in labels])


def _sidecar(version: Verified, job: Job, path: Path, params: Params) -> dict[str, Any]:
    decision, size = version.decision, int(version.spec["size"])
    catalog = params.catalog
    limits = version.limits(Limits(**catalog.limits))
    return {
        "schema": SCHEMA,
        "model": Path(version.model).name,  # or of a version's folder, where one was named
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
        "temperature": decision.temperature,  # part of the graph already: for the record
        "size": size,
        "input": {"name": INPUT, "shape": ["n", size, size, 3], "dtype": "float32", "range": [0, 255], "order": "RGB"},
        "output": {"name": OUTPUT, "shape": ["n", len(decision.labels)], "dtype": "float32", "calibrated": True},
        "max_frames": limits.max_frames,
        "formats": [name for name in limits.formats if name not in _NOT_IN_EXAMPLE],
        "max_pixels": limits.max_pixels,
        "doubts": list(version.doubts),
    }


def _bytes(path: Path) -> int:
    found: Sequence[Path] = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in found)
