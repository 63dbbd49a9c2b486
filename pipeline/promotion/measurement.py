"""A registered version on any folder of labelled pictures: what a team's own traffic would say of it.

A sample of real traffic, all of it safe, shows the false-positive rate that no scrape can; nothing is stored.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pipeline.core import executor
from pipeline.core.errors import UserError
from pipeline.data import walk
from pipeline.evaluation import calibration, speed
from pipeline.evaluation.recall import wilson
from pipeline.images import sandbox
from pipeline.images.limits import Limits, Rejected
from pipeline.images.preprocessing import FrameSquares, Squaring
from pipeline.promotion import agreement
from pipeline.registry import evidence_store, state, verification
from pipeline.registry.evidence_store import DoubtfulError
from pipeline.serving.decision import Decision, worst_frame
from pipeline.serving.networks import Adapter, load_network
from pipeline.tracking import server
from pipeline.tracking.lineage import digest

if TYPE_CHECKING:
    from pipeline.params.root import Params

_CHUNK, _BATCH = 256, 32
_MAX_BYTES = 64 * 2**20
_ROUNDS = 40


@dataclass(frozen=True)
class Reading:
    """How to read a file: within which limits, to which side (px)."""

    limits: Limits
    size: int

    def read(self, path: str) -> FrameSquares:
        """Return the frames that a model looks at; for a sandbox worker."""
        try:
            with Path(path).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise Rejected("unreadable", error.strerror or type(error).__name__) from None
        if len(data) > _MAX_BYTES:
            raise Rejected("too_large", f"more than {_MAX_BYTES:,} bytes")
        return Squaring(self.limits, self.size).frames_from_bytes(data)


def measure(params: Params, asked: str, folder: Path) -> dict[str, Any]:
    """Return what a version says of the pictures in `folder`/<label>/**.

    Keys: model, version, pictures, unreadable ({reason: files}), said ({label: {class: pictures}}), recall by label,
    flagged: of the safe and of the unsafe pictures, how many the most probable class, and each operating point of the
    version's evidence, calls unsafe, with Wilson intervals; calibration (before, and after the evidence's temperature);
    speed (p50_ms, p95_ms, pictures_per_second of the model alone; with_decoding: of this very run). An animation counts
    as its worst frame, as it does wherever the version serves.

    Raises:
        UserError: no such version or folder, a folder's name is no label of this version (params.yaml may have others
            by now), or there is no readable picture.
        Unreachable: the server does not answer.

    """
    _check_folder(folder)
    with server.session() as client:
        agreement.check(client, params.register_, asked)
        now = state.read(client, params.register_)
        version = state.resolve(now, asked, params.register_)
        place, spec = verification.fetch_model(client, now.model, version)
        tag = client.get_model_version(now.model, str(version)).tags.get("nsfw.model_sha256")
        try:
            document = dict(evidence_store.fetch(client, now.model, version).document)
        except DoubtfulError:
            document = {}
    file = verification.model_file(place, spec)
    if not spec or not file.exists() or digest(file) != tag:
        raise UserError(f"version {version} is not a model of ours, or its file has changed: it is not loaded.")
    try:
        names, unsafe, size = tuple(spec["labels"]), tuple(spec["unsafe"]), int(spec["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"version {version} does not say what it answers ({error!r}): it is not loaded.") from None
    files, refused = _files(folder, names, f"version {version}")
    network = load_network(file, Adapter.from_document(spec.get("adapter")), size, len(names))
    begun = time.perf_counter()
    decision = Decision.from_document(spec.get("decision"), names, unsafe)
    probabilities, labels, unreadable = _answers(network, decision, files, size, params)
    seconds = time.perf_counter() - begun
    unreadable = dict(sorted((Counter(refused) + Counter(unreadable)).items()))
    if not labels:
        raise UserError(f"{folder} holds no readable picture: {unreadable or 'it is empty'}.")
    truth = np.array([names.index(label) for label in labels])
    return {
        "model": now.model,
        "version": version,
        "folder": str(folder),
        "pictures": len(labels),
        "unreadable": unreadable,
        "said": _said(probabilities, truth, names),
        "flagged": _flagged(probabilities, truth, names, unsafe, document, params.evaluate.confidence),
        "confidence": params.evaluate.confidence,
        "calibration": _calibration(probabilities, truth, document),
        "speed": {**speed.measure(network, size, _ROUNDS), "with_decoding": len(labels) / seconds},
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Return a measurement for a terminal."""
    head = f"{found['model']} version {found['version']} on {found['pictures']} pictures of {found['folder']}"
    if found["unreadable"]:
        reasons = ", ".join(f"{count} {code}" for code, count in found["unreadable"].items())
        head += f"; {sum(found['unreadable'].values())} unreadable ({reasons})"
    text = [head]
    for label, said in found["said"].items():
        total = sum(said.values())
        told = ", ".join(f"{name} {count} ({100 * count / total:.2f} %)" for name, count in said.items() if count)
        text.append(f"  {label}: said {told}")
    percent = f"{100 * found['confidence']:g} %"
    for row in found["flagged"]:
        rate = "-" if row["rate"] is None else f"{100 * row['rate']:.2f} %"
        low, high = row["interval"] or (float("nan"), float("nan"))
        between = f"{percent}: {100 * low:.2f} to {100 * high:.2f} %"
        text.append(f"  {row['figure']:<52} {rate:>9}  ({between}, {row['pictures']} pictures)")
    known = found["calibration"]
    text.append(f"  calibration error {_four(known['before'])}; after its temperature {_four(known['after'])}")
    fast = found["speed"]
    text.append(
        f"  {fast['pictures_per_second']:.0f} pictures/s in batches, {fast['with_decoding']:.0f} with decoding; "
        f"one picture {fast['p50_ms']:.1f} ms, 95th percentile {fast['p95_ms']:.1f} ms"
    )
    return text


def _check_folder(folder: Path) -> None:
    """Raise before a server is asked for anything."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. It must hold a folder for each label.")
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise UserError(f"{folder} holds no folder. It must hold one for each label: {folder}/neutral/a.jpg, say.")


def _files(folder: Path, names: Sequence[str], model: str) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Return label and absolute path of each file, in order, and how many entries are no file of a label, by code."""
    entries = walk.walk(os.fsencode(folder)).entries
    inside = [entry for entry in entries if entry.is_folder or b"/" in entry.shown]
    labels = sorted({os.fsdecode(entry.shown.partition(b"/")[0]) for entry in inside})
    strangers = [ascii(label) for label in labels if label not in names]
    if strangers:
        raise UserError(
            f"{folder} holds {', '.join(strangers)}; its folders must be labels of {model}: {', '.join(names)}. "
            "Rename them, or measure a version that knows these labels (--version)."
        )
    codes = Counter(entry.problem.partition(":")[0] for entry in inside if entry.problem)
    codes["no_label"] = len(entries) - len(inside)
    root = folder.absolute()
    sound = [os.fsdecode(entry.shown) for entry in inside if not entry.problem]
    return [(shown.partition("/")[0], str(root / shown)) for shown in sound], dict(sorted((+codes).items()))


def _answers(
    network: Any, decision: Decision, files: Sequence[tuple[str, str]], size: int, params: Params
) -> tuple[np.ndarray, list[str], dict[str, int]]:
    limits = Limits(**params.catalog.limits)
    cost = sandbox.Limits(params.catalog.seconds, params.catalog.memory_mb, executor.cores())
    read = partial(Reading.read, Reading(limits, size))
    parts: list[np.ndarray] = []
    labels: list[str] = []
    unreadable: dict[str, int] = {}
    for chunk in tqdm(list(_chunks(files)), desc="measure", unit="chunk", disable=None):
        shown: list[FrameSquares] = []
        outcomes = sandbox.run(read, [path for _, path in chunk], cost)
        for (label, _), outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, sandbox.Failure):
                unreadable[outcome.code] = unreadable.get(outcome.code, 0) + 1
            else:
                shown.append(outcome)
                labels.append(label)
        batches = (shown[start : start + _BATCH] for start in range(0, len(shown), _BATCH))
        parts.extend(_worst(network, decision, batch) for batch in batches)
    return np.concatenate(parts) if parts else np.empty((0, 0)), labels, dict(sorted(unreadable.items()))


def _worst(network: Any, decision: Decision, pictures: Sequence[FrameSquares]) -> np.ndarray:
    """Return the network's own answer (pictures, classes) to the frame of each picture that decides about it."""
    squares = np.concatenate([picture.squares for picture in pictures])
    answers = [np.asarray(network(squares[start : start + _BATCH])) for start in range(0, len(squares), _BATCH)]
    ends = np.cumsum([len(picture.squares) for picture in pictures])
    by_picture = np.split(np.concatenate(answers), ends[:-1])
    return np.stack([raw[worst_frame(decision.score(decision.probabilities(raw)))] for raw in by_picture])


def _chunks(files: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(files), _CHUNK):
        yield files[start : start + _CHUNK]


def _said(probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, int]]:
    said = probabilities.argmax(axis=1)
    return {
        name: {other: int(((truth == place) & (said == k)).sum()) for k, other in enumerate(names)}
        for place, name in enumerate(names)
        if (truth == place).any()
    }


def _flagged(
    probabilities: np.ndarray,
    truth: np.ndarray,
    names: Sequence[str],
    unsafe: Sequence[str],
    document: dict[str, Any],
    confidence: float,
) -> list[dict[str, Any]]:
    members = np.array([name in unsafe for name in names])
    calls = {"most probable class is unsafe": members[probabilities.argmax(axis=1)]}
    if document:
        calibrated = calibration.apply(probabilities, document["calibration"]["temperature"])
        for name, point in document["operating_points"].items():
            if point["threshold"] is not None:
                inside = np.array([label in point["classes"] for label in names])
                calls[f"{name} at its threshold {point['threshold']:.4g}"] = (
                    calibrated[:, inside].sum(axis=1) >= point["threshold"]
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


def _calibration(probabilities: np.ndarray, truth: np.ndarray, document: dict[str, Any]) -> dict[str, float | None]:
    def error(answers: np.ndarray) -> float | None:
        return calibration.expected_calibration_error(calibration.reliability_bins(answers, truth))

    before = error(probabilities)
    if not document:
        return {"before": before, "after": None, "temperature": None}
    temperature = document["calibration"]["temperature"]
    after = error(calibration.apply(probabilities, temperature))
    return {"before": before, "after": after, "temperature": temperature}


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
