"""Measure a registered version on a folder of labelled pictures: a sample of a team's own traffic.

A sample of safe traffic shows the false-positive rate, which a scrape cannot show. Nothing is stored.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.evaluation import calibration, speed
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.recall import wilson
from pipeline.evidence.document import Document
from pipeline.promotion import agreement, measured_pictures
from pipeline.registry import evidence_store, state, verification
from pipeline.registry.evidence_store import EvidenceError
from pipeline.serving.decision import Decision
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking import server

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.root import Params

_ROUNDS = 40  # pictures that speed is measured on


def measure(params: Params, requested: str, folder: Path) -> dict[str, Any]:
    """Return a version's figures on the pictures in `folder`/<label>/**.

    The labels are the version's, or those of params.yaml: a picture of a class that the version has no label for is
    judged as unsafe or safe.

    Keys: model, version, folder, pictures, unreadable ({reason: files}), said ({label: {class: pictures}}), flagged (of
    the safe and of the unsafe pictures, the share that the most probable class, and each operating point of the
    evidence, calls unsafe, with Wilson intervals), confidence, calibration (error before and after the evidence's
    temperature), speed (p50_ms, p95_ms, pictures_per_second of the model alone; with_decoding: of this run). An
    animation counts as its worst frame, as it does wherever the version serves.

    Raises:
        UserError: there is no such version or folder, a folder's name is no such label, or no picture can be read.
        Unreachable: the server does not answer.

    """
    measured_pictures.check_folder(folder)
    model, version, opened, document = _open(params, requested)
    spec = opened.spec
    names, unsafe, size = _classes_and_size(spec, version)
    match = _match(names, unsafe, params)
    origin = f"version {version}" + ("" if match.same else ", or of params.yaml")
    files, refused = measured_pictures.list_files(folder, match.names, origin)
    adapter = Adapter.from_document(spec.get("adapter"))
    network = load_network(opened.model_file, adapter, size, len(names))
    started = time.perf_counter()
    decision = Decision.from_document(spec.get("decision"), names, unsafe)
    probabilities, labels, unreadable = measured_pictures.worst_frame_answers(
        network, decision, files, size, params, adapter.resize
    )
    seconds = time.perf_counter() - started
    unreadable = dict(sorted((Counter(refused) + Counter(unreadable)).items()))
    if not labels:
        raise UserError(f"{folder} holds no readable picture: {unreadable or 'it is empty'}.")
    truth = np.array([match.names.index(label) for label in labels])
    return {
        "model": model,
        "version": version,
        "folder": str(folder),
        "pictures": len(labels),
        "unreadable": unreadable,
        "said": _count_predictions(probabilities, truth, match),
        "flagged": _flagged(probabilities, truth, match, document, params.evaluate.confidence),
        "confidence": params.evaluate.confidence,
        "calibration": _calibration(probabilities, truth, match, document),
        "speed": {**speed.measure(network, size, _ROUNDS), "with_decoding": len(labels) / seconds},
    }


def _open(params: Params, requested: str) -> tuple[str, int, verification.OpenedModel, Document | None]:
    """Return the model's name, the version that `requested` names, its files, and its evidence if it has any."""
    with server.session() as client:
        agreement.check(client, params.register_, requested)
        now = state.read(client, params.register_)
        version = state.resolve(now, requested, params.register_)
        opened = verification.open_version(client, now.model, version)
        return now.model, version, opened, _document(client, now.model, version)


def _document(client: MlflowClient, model: str, version: int) -> Document | None:
    try:
        return evidence_store.fetch(client, model, version).document
    except EvidenceError:
        return None


def _classes_and_size(spec: dict[str, Any], version: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    try:
        return tuple(spec["labels"]), tuple(spec["unsafe"]), int(spec["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"version {version} does not say what it answers ({error!r}): it is not loaded.") from None


def _match(names: tuple[str, ...], unsafe: tuple[str, ...], params: Params) -> LabelMatch:
    """Return the version's labels beside themselves and those of params.yaml: which folders there may be."""
    others = tuple(name for name in params.labels.names if name not in names)
    unsafe_others = tuple(name for name in others if name in params.labels.unsafe)
    return LabelMatch(names, unsafe, (*names, *others), (*unsafe, *unsafe_others))


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines of a measurement for a terminal."""
    head = f"{report['model']} version {report['version']} on {report['pictures']} pictures of {report['folder']}"
    if report["unreadable"]:
        reasons = ", ".join(f"{count} {code}" for code, count in report["unreadable"].items())
        head += f"; {sum(report['unreadable'].values())} unreadable ({reasons})"
    text = [head]
    for label, counts in report["said"].items():
        total = sum(counts.values())
        shares = ", ".join(f"{name} {count} ({100 * count / total:.2f} %)" for name, count in counts.items() if count)
        text.append(f"  {label}: said {shares}")
    percent = f"{100 * report['confidence']:g} %"
    for row in report["flagged"]:
        rate = "-" if row["rate"] is None else f"{100 * row['rate']:.2f} %"
        low, high = row["interval"] or (float("nan"), float("nan"))
        between = f"{percent}: {100 * low:.2f} to {100 * high:.2f} %"
        text.append(f"  {row['figure']:<52} {rate:>9}  ({between}, {row['pictures']} pictures)")
    errors = report["calibration"]
    text.append(
        f"  calibration error {_decimals(errors['before'])}; after its temperature {_decimals(errors['after'])}"
    )
    fast = report["speed"]
    text.append(
        f"  {fast['pictures_per_second']:.0f} pictures/s in batches, {fast['with_decoding']:.0f} with decoding; "
        f"one picture {fast['p50_ms']:.1f} ms, 95th percentile {fast['p95_ms']:.1f} ms"
    )
    return text


def _count_predictions(probabilities: np.ndarray, truth: np.ndarray, match: LabelMatch) -> dict[str, dict[str, int]]:
    predicted = probabilities.argmax(axis=1)
    return {
        name: {label: int(((truth == index) & (predicted == k)).sum()) for k, label in enumerate(match.labels)}
        for index, name in enumerate(match.names)
        if (truth == index).any()
    }


def _flagged(
    probabilities: np.ndarray,
    truth: np.ndarray,
    match: LabelMatch,
    document: Document | None,
    confidence: float,
) -> list[dict[str, Any]]:
    members = match.members
    calls = {"most probable class is unsafe": members[probabilities.argmax(axis=1)]}
    if document:
        calibrated = calibration.apply(probabilities, document.calibration.temperature)
        for name, point in document.operating_points.items():
            if point.threshold is not None:
                inside = np.array([label in point.classes for label in match.labels])
                calls[f"{name} at its threshold {point.threshold:.4g}"] = (
                    calibrated[:, inside].sum(axis=1) >= point.threshold
                )
    rows = []
    for figure, called in calls.items():
        for kind, which in (("safe, flagged", ~members[truth]), ("unsafe, caught", members[truth])):
            total, hits = int(which.sum()), int((called & which).sum())
            if total:
                interval = wilson(hits, total, confidence)
                row = {"figure": f"{kind}: {figure}", "rate": hits / total, "interval": interval, "pictures": total}
                rows.append(row)
    return rows


def _calibration(
    probabilities: np.ndarray, truth: np.ndarray, match: LabelMatch, document: Document | None
) -> dict[str, float | None]:
    """Return the calibration error; of the probability of unsafe if the version has no label for some picture."""
    temperature = document.calibration.temperature if document else None
    outcomes, unsafe = truth, None
    if (truth >= len(match.labels)).any():
        outcomes, unsafe = match.members[truth].astype(np.int64), match.label_members
    report = calibration.report(probabilities, outcomes, temperature or 1.0, unsafe)
    after = None if temperature is None else report["ece_after"]
    return {"before": report["ece_before"], "after": after, "temperature": temperature}


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
