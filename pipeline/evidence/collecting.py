"""Collect the evidence on a model: the document that the gates, the model card and comparisons read.

A model is a `Score` (evidence.scoring), whether it was trained here or imported.

    predictions = predictions_from_shards(score, 224, judged_splits(), params)
    write(collect(score, sha256, 224, predictions, params), predictions, Path("build/evidence"))
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.decisions import UNSURE
from pipeline.core.files import write_json
from pipeline.data import annotation_files, sources
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
from pipeline.evaluation.label_match import LabelMatch, matched_summary
from pipeline.evaluation.recall import confusion
from pipeline.evidence.document import DOCUMENT, PLOTS, PREDICTIONS, SCHEMA, Document
from pipeline.evidence.scoring import Score, judged_splits, predictions_from_shards, robustness
from pipeline.images.resize import SQUASH, Resize
from pipeline.params.root import Params

__all__ = ["Score", "collect", "judged_splits", "predictions_from_shards", "write"]

_PAIRS = 50
_SPLITS = ("train", "val", "test")


def collect(
    score: Score,
    model_sha256: str,
    size: int,
    predictions: pd.DataFrame,
    params: Params,
    match: LabelMatch | None = None,
    resize: Resize = SQUASH,
) -> Document:
    """Return the evidence on a model; docs/evidence.md explains each section.

    `model_sha256` is the digest of the model's file, `size` its input (px), `resize` how it is filled. `predictions`
    are the model's on judged_splits(), as predictions_from_shards gives them. `match`: of its labels, if they are not
    labels.names. Reads data/, build/catalog.parquet, build/splits.parquet and build/packed.

    Raises:
        UserError: there is no test picture, or an input is missing.

    """
    evaluate, match = params.evaluate, match or LabelMatch.own(params.labels.names, params.labels.unsafe)
    val, test, unsure = (predictions[predictions["split"] == split] for split in ("val", "test", UNSURE))
    figures = _figures(val, test, match, params)
    raw, cleaned = _side_by_side(test, unsure, match, params)
    reports = annotation_files.reports(paths.REPORTS, match.classes)
    content = {
        "schema": SCHEMA,
        "model_sha256": model_sha256,
        "labels": list(match.labels),
        "unsafe": list(match.unsafe),
        "size": size,
        "confidence": evaluate.confidence,
        "target_recall": evaluate.target_recall,
        "policy": rollups.policy(evaluate.policy, match.unsafe_classes),
        "test": {
            "digest": table.digest(test),
            "pictures": len(test),
            "by_label": {name: int((test["label"] == name).sum()) for name in match.classes},
        },
        **figures,
        "robustness": robustness(score, size, test, params, match, resize),
        "slices": _slices(test, match, params),
        "raw": raw,
        "cleaned": cleaned,
        "reports": reviewed.regression(reports, predictions, match, evaluate.confidence),
        "leaks": _leaks(test, params),
        "sources": _sources(),
    }
    if not match.same:
        content["truth"] = {"labels": list(match.classes), "unsafe": list(match.unsafe_classes)}
    return Document.model_validate(content)


def write(document: Document, predictions: pd.DataFrame, folder: Path) -> None:
    """Write evidence.json, predictions.parquet and plots/*.png below `folder`; equal arguments give equal bytes."""
    test = predictions[predictions["split"] == "test"]
    match = document.match
    curves = evidence_plots.precision_recall(*match.arrays(test), match.names, match.all_unsafe, match.known)
    figures = {
        "pr.png": evidence_plots.precision_recall_figure(curves, title="test set"),
        "reliability.png": evidence_plots.reliability_figure(document.calibration.to_json(), title="test set"),
        "confusion.png": plots.confusion_figure(
            np.array(document.summary.confusion),
            match.labels,
            unsafe=match.all_unsafe,
            title="test set",
            rows=match.classes,
        ),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / PLOTS / name)
    tables.write_parquet(predictions, folder / PREDICTIONS)
    write_json(document.to_json(), folder / DOCUMENT)


def _figures(val: pd.DataFrame, test: pd.DataFrame, match: LabelMatch, params: Params) -> dict[str, Any]:
    """Return the sections on the whole test set: summary, bootstrap, calibration, operating_points."""
    evaluate = params.evaluate
    probabilities, truth = match.arrays(test)
    counts = confusion(truth, probabilities.argmax(axis=1), len(match.names))
    figures = matched_summary(probabilities, truth, match, evaluate.confidence)
    intervals = bootstrap.intervals(
        counts,
        match.names,
        match.all_unsafe,
        confidence=evaluate.confidence,
        resamples=evaluate.resamples,
        seed=params.seed,
        known=match.known,
    )
    return {"summary": figures, "bootstrap": intervals, **_calibrated_figures(val, test, match, params)}


def _calibrated_figures(val: pd.DataFrame, test: pd.DataFrame, match: LabelMatch, params: Params) -> dict[str, Any]:
    """Return calibration and operating_points.

    The temperature is fitted on val alone; thresholds are chosen on val's calibrated probabilities.
    """
    raw = [table.probabilities(part, match.labels) for part in (val, test)]
    truth = [match.truth(part["label"]) for part in (val, test)]
    unsafe, outcomes = None, truth
    if not match.same:  # what can be calibrated of other labels is the probability that a picture is unsafe
        unsafe, outcomes = match.label_members, [match.members[labels].astype(np.int64) for labels in truth]
    temperature, held_out = calibration.choose_temperature(raw[0], outcomes[0], params.seed, unsafe)
    calibrated = [
        rollups.SplitPredictions(match.widen(calibration.apply(answers, temperature)), labels)
        for answers, labels in zip(raw, truth, strict=True)
    ]
    return {
        "calibration": calibration.report(raw[1], outcomes[1], temperature, unsafe) | {"held_out": held_out},
        "operating_points": rollups.operating_points(calibrated[0], calibrated[1], match, params.evaluate),
    }


def _slices(test: pd.DataFrame, match: LabelMatch, params: Params) -> dict[str, Any]:
    evaluate = params.evaluate
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "sources", "width", "height", "format"])
    tags = annotation_files.slices(paths.SLICES)
    member = slices.memberships(catalog[catalog["sha256"].isin(test["sha256"])], tags)
    judged = pd.DataFrame(
        {"sha256": test["sha256"], "label": test["label"], "said": table.predicted_classes(test, match.labels)}
    )
    rows = slices.measure(judged, member, match.names, match.all_unsafe, evaluate.confidence, match.known)
    return {"rows": rows, "gap": slices.gap(rows, evaluate.min_slice), "min_slice": evaluate.min_slice}


def _sources() -> list[dict[str, Any]]:
    """Return the sources of the pictures in the splits, by name: pictures by split, and what is known of the source."""
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "sources"])
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "split"])
    rows = splits[splits["split"].isin(_SPLITS)].merge(catalog, on="sha256").explode("sources")
    counts = pd.crosstab(rows["sources"], rows["split"]).reindex(columns=list(_SPLITS), fill_value=0).sort_index()
    names = [str(name) for name in counts.index]
    about = sources.describe(paths.DATA, names)
    return [
        {"name": name, **dict(zip(_SPLITS, map(int, row), strict=True)), **about[name]}
        for name, row in zip(names, counts.to_numpy(), strict=True)
    ]


def _side_by_side(
    test: pd.DataFrame, unsure: pd.DataFrame, match: LabelMatch, params: Params
) -> tuple[dict[str, Any], dict[str, Any]]:
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels"])
    decided = annotation_files.latest(annotation_files.decisions(paths.DECISIONS, match.classes))
    seen = decided[decided.index.isin(catalog["sha256"])]
    raw = reviewed.raw_labels(catalog, match.classes)
    return reviewed.compare_labels(test, unsure, raw, seen, match, params.evaluate.confidence)


def _leaks(test: pd.DataFrame, params: Params) -> dict[str, Any]:
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "cluster", "split"])
    splits = splits[splits["split"].isin(_SPLITS)]
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
