"""Collect the evidence on a model: the document that the gates, the model card and comparisons read.

A model is a `Score` (evidence.scoring), whether it was trained here or imported.

    predictions = predictions_from_shards(score, 224, ("val", "test"), params)
    write(collect(score, sha256, 224, predictions, params), predictions, Path("build/evidence"))
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.files import write_json
from pipeline.data import annotation_files
from pipeline.evaluation import (
    bootstrap,
    calibration,
    evidence_plots,
    leaks,
    plots,
    reviewed,
    rollups,
    slices,
)
from pipeline.evaluation import (
    predictions as table,
)
from pipeline.evaluation.recall import summary
from pipeline.evidence.document import DOCUMENT, PLOTS, PREDICTIONS, SCHEMA, Document
from pipeline.evidence.scoring import Score, predictions_from_shards, robustness
from pipeline.params.root import Params

__all__ = ["Score", "collect", "predictions_from_shards", "write"]

_PAIRS = 50


def collect(score: Score, model_sha256: str, size: int, predictions: pd.DataFrame, params: Params) -> Document:
    """Return the evidence on a model; docs/evidence.md explains each section.

    `model_sha256` is the digest of the model's file, `size` its input (px). `predictions` are the model's on val and
    test, as predictions_from_shards gives them. Reads data/, build/catalog.parquet, build/splits.parquet and
    build/packed.

    Raises:
        UserError: there is no test picture, or an input is missing.

    """
    evaluate, names, unsafe = params.evaluate, params.labels.names, _unsafe(params)
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    figures = _figures(val, test, params)
    raw, cleaned = _side_by_side(test, params)
    content = {
        "schema": SCHEMA,
        "model_sha256": model_sha256,
        "labels": list(names),
        "unsafe": unsafe,
        "size": size,
        "confidence": evaluate.confidence,
        "target_recall": evaluate.target_recall,
        "policy": rollups.policy(evaluate.policy, unsafe),
        "test": {
            "digest": table.digest(test),
            "pictures": len(test),
            "by_label": {name: int((test["label"] == name).sum()) for name in names},
        },
        **figures,
        "robustness": robustness(score, size, test, params),
        "slices": _slices(test, params),
        "raw": raw,
        "cleaned": cleaned,
        "reports": reviewed.regression(annotation_files.reports(paths.REPORTS, names), predictions, names),
        "leaks": _leaks(test, params),
    }
    return Document.model_validate(content)


def write(document: Document, predictions: pd.DataFrame, folder: Path) -> None:
    """Write evidence.json, predictions.parquet and plots/*.png below `folder`; equal arguments give equal bytes."""
    test = predictions[predictions["split"] == "test"]
    probabilities, truth = table.arrays(test, document.labels)
    curves = evidence_plots.precision_recall(probabilities, truth, document.labels, document.unsafe)
    figures = {
        "pr.png": evidence_plots.precision_recall_figure(curves, title="test set"),
        "reliability.png": evidence_plots.reliability_figure(document.calibration.to_json(), title="test set"),
        "confusion.png": plots.confusion_figure(
            np.array(document.summary.confusion),
            document.labels,
            unsafe=document.unsafe,
            title="test set",
        ),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / PLOTS / name)
    tables.write_parquet(predictions, folder / PREDICTIONS)
    write_json(document.to_json(), folder / DOCUMENT)


def _unsafe(params: Params) -> list[str]:
    return [name for name in params.labels.names if name in params.labels.unsafe]


def _figures(val: pd.DataFrame, test: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return the sections on the whole test set: summary, bootstrap, calibration, operating_points."""
    evaluate, names, unsafe = params.evaluate, params.labels.names, _unsafe(params)
    val_arrays, (probabilities, truth) = table.arrays(val, names), table.arrays(test, names)
    figures = summary(probabilities, truth, names, unsafe, evaluate.confidence)
    # The temperature is fitted on val alone; thresholds are chosen on val's calibrated probabilities.
    temperature, held_out = calibration.choose_temperature(*val_arrays, params.seed)
    calibrated = [
        rollups.SplitPredictions(calibration.apply(uncalibrated, temperature), labels)
        for uncalibrated, labels in (val_arrays, (probabilities, truth))
    ]
    intervals = bootstrap.intervals(
        np.array(figures["confusion"]),
        names,
        unsafe,
        confidence=evaluate.confidence,
        resamples=evaluate.resamples,
        seed=params.seed,
    )
    return {
        "summary": figures,
        "bootstrap": intervals,
        "calibration": calibration.report(probabilities, truth, temperature) | {"held_out": held_out},
        "operating_points": rollups.operating_points(calibrated[0], calibrated[1], names, unsafe, evaluate),
    }


def _slices(test: pd.DataFrame, params: Params) -> dict[str, Any]:
    labels, evaluate = params.labels, params.evaluate
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "sources", "width", "height", "format"])
    tags = annotation_files.slices(paths.SLICES)
    member = slices.memberships(catalog[catalog["sha256"].isin(test["sha256"])], tags)
    judged = pd.DataFrame(
        {"sha256": test["sha256"], "label": test["label"], "said": table.predicted_classes(test, labels.names)}
    )
    rows = slices.measure(judged, member, labels.names, labels.unsafe, evaluate.confidence)
    return {"rows": rows, "gap": slices.gap(rows, evaluate.min_slice), "min_slice": evaluate.min_slice}


def _side_by_side(test: pd.DataFrame, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    labels = params.labels
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels"])
    decided = annotation_files.latest(annotation_files.decisions(paths.DECISIONS, labels.names))
    seen = decided[decided.index.isin(catalog["sha256"])]
    raw = reviewed.raw_labels(catalog, labels.names)
    return reviewed.compare_labels(test, raw, seen, labels.names, labels.unsafe, params.evaluate.confidence)


def _leaks(test: pd.DataFrame, params: Params) -> dict[str, Any]:
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "cluster", "split"])
    straddling = int(splits[["cluster", "split"]].drop_duplicates().duplicated("cluster").sum())
    wanted = set(test["sha256"])
    names: list[str] = []
    parts = []
    for sha256, thumbs in _thumbnails("test", params):
        rows = [row for row, sha in enumerate(sha256) if sha in wanted]
        names += [sha256[row] for row in rows]
        parts.append(thumbs[rows])
    matches = leaks.near_copies(np.concatenate(parts), _thumbnails("train", params))
    train_pictures = int((splits["split"] == "train").sum())
    return leaks.report(matches, names, train_pictures, straddling, threshold=leaks.THRESHOLD, most=_PAIRS)


def _thumbnails(split: str, params: Params) -> Iterator[tuple[list[str], npt.NDArray[Any]]]:
    """Yield (sha256, thumbnails) of a packed split, a batch at a time."""
    from pipeline.training import packed_records

    for pictures, _, sha256 in packed_records.pictures(
        packed_records.packed_files(paths.PACKED, split), params.backbone.size, 512
    ):
        yield [value.decode() for value in sha256.numpy()], leaks.thumbnails(pictures.numpy())
