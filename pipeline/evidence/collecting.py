"""Everything that is known of a model on the test set: the document that gates, card and comparisons read.

A model is a `Score` (evidence.scoring): one that was trained here and one that was imported pass through the same.

    predictions = predictions_from_shards(score, 224, ("val", "test"), params)
    write(collect(score, 224, predictions, params), predictions, Path("build/evidence"))
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
from pipeline.evidence.scoring import Score, predictions_from_shards, robustness
from pipeline.params.root import Params

__all__ = ["DOCUMENT", "SCHEMA", "TABLE", "Score", "collect", "predictions_from_shards", "write"]

SCHEMA = 1
DOCUMENT, TABLE = "evidence.json", "predictions.parquet"
_PAIRS = 50


def collect(score: Score, size: int, predictions: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return the evidence, ready for JSON; shares are 0..1, None where nothing is known. docs/evidence.md explains it.

    `size` is the model's input (px); `predictions` its answers of val and test, as predictions_from_shards gives them.
    Reads data/, build/catalog.parquet, build/splits.parquet, build/packed.

    Raises:
        UserError: there is no test picture, or an input is missing.

    """
    labels, asked = params.labels, params.evaluate
    names, unsafe = labels.names, [name for name in labels.names if name in labels.unsafe]
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    val_arrays, (probabilities, truth) = table.arrays(val, names), table.arrays(test, names)
    figures = summary(probabilities, truth, names, unsafe, asked.confidence)
    temperature, tested = calibration.choose_temperature(*val_arrays, params.seed)
    judged = [
        rollups.Judged(calibration.apply(found, temperature), index)
        for found, index in (val_arrays, (probabilities, truth))
    ]
    raw, cleaned = _side_by_side(test, params)
    reports = annotation_files.reports(paths.REPORTS, names)
    return {
        "schema": SCHEMA,
        "labels": list(names),
        "unsafe": unsafe,
        "size": size,
        "confidence": asked.confidence,
        "test": {
            "digest": table.digest(test),
            "pictures": len(test),
            "by_label": {name: int((test["label"] == name).sum()) for name in names},
        },
        "summary": figures,
        "bootstrap": bootstrap.intervals(
            np.array(figures["confusion"]),
            names,
            unsafe,
            confidence=asked.confidence,
            resamples=asked.resamples,
            seed=params.seed,
        ),
        "calibration": calibration.report(probabilities, truth, temperature) | {"held_out": tested},
        "target_recall": asked.target_recall,
        "operating_points": rollups.operating_points(judged[0], judged[1], names, unsafe, asked),
        "policy": rollups.policy(asked.policy, unsafe),
        "robustness": robustness(score, size, test, params),
        "slices": _slices(test, params),
        "raw": raw,
        "cleaned": cleaned,
        "reports": reviewed.regression(reports, predictions, names),
        "leaks": _leaks(test, params),
    }


def write(document: dict[str, Any], predictions: pd.DataFrame, folder: Path) -> None:
    """Write evidence.json, predictions.parquet and plots/*.png below `folder`; equal arguments give equal bytes."""
    test = predictions[predictions["split"] == "test"]
    probabilities, truth = table.arrays(test, document["labels"])
    curves = evidence_plots.precision_recall(probabilities, truth, document["labels"], document["unsafe"])
    drawn = {
        "pr.png": evidence_plots.precision_recall_figure(curves, title="test set"),
        "reliability.png": evidence_plots.reliability_figure(document["calibration"], title="test set"),
        "confusion.png": plots.confusion_figure(
            np.array(document["summary"]["confusion"]),
            document["labels"],
            unsafe=document["unsafe"],
            title="test set",
        ),
    }
    for name, figure in drawn.items():
        plots.save(figure, folder / "plots" / name)
    tables.write_parquet(predictions, folder / TABLE)
    write_json(document, folder / DOCUMENT)


def _slices(test: pd.DataFrame, params: Params) -> dict[str, Any]:
    labels, asked = params.labels, params.evaluate
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "sources", "width", "height", "format"])
    tags = annotation_files.slices(paths.SLICES)
    member = slices.memberships(catalog[catalog["sha256"].isin(test["sha256"])], tags)
    judged = pd.DataFrame({"sha256": test["sha256"], "label": test["label"], "said": table.answers(test, labels.names)})
    rows = slices.measure(judged, member, labels.names, labels.unsafe, asked.confidence)
    return {"rows": rows, "gap": slices.gap(rows, asked.min_slice), "min_slice": asked.min_slice}


def _side_by_side(test: pd.DataFrame, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    labels = params.labels
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels"])
    decided = annotation_files.latest(annotation_files.decisions(paths.DECISIONS, labels.names))
    seen = decided[decided.index.isin(catalog["sha256"])]
    raw = reviewed.raw_labels(catalog, labels.names)
    return reviewed.side_by_side(test, raw, seen, labels.names, labels.unsafe, params.evaluate.confidence)


def _leaks(test: pd.DataFrame, params: Params) -> dict[str, Any]:
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "cluster", "split"])
    straddling = int(splits[["cluster", "split"]].drop_duplicates().duplicated("cluster").sum())
    wanted = set(test["sha256"])
    names: list[str] = []
    parts = []
    for sha256, thumbs in _thumbnails("test", params):
        kept = [place for place, sha in enumerate(sha256) if sha in wanted]
        names += [sha256[place] for place in kept]
        parts.append(thumbs[kept])
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
