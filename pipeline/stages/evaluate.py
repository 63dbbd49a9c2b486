"""Measure both models on the test set, and collect the evidence on the fine-tuned one that the gates read.

Reads   build/packed/, build/head/, build/finetuned/, build/catalog.parquet, build/splits.parquet, data/
Writes  build/predictions.parquet, build/evidence/, metrics/evaluate.json, plots/, reports/article.md
Run     dvc repro evaluate
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import evidence, files, paths, tables
from pipeline.evaluation import evidence_plots, plots
from pipeline.evaluation.article import article_markdown, article_table
from pipeline.evaluation.predictions import answers, arrays, frame
from pipeline.evaluation.recall import summary
from pipeline.model import network, records
from pipeline.params import Labels, Params, load_params
from pipeline.scoring import Score, keras_score
from pipeline.tracking.lineage import digest
from pipeline.tracking.record import RunRecord


def predict(score: Score, split: str, params: Params) -> pd.DataFrame:
    """Return `sha256, split, label, p_<class>...` of a packed split, in packed order."""
    names = params.labels.names
    parts = []
    for pictures, label, sha256 in records.pictures(
        records.packed_files(paths.PACKED, split), params.backbone.size, 128
    ):
        labels = [names[index] for index in label.numpy()]
        contents = [value.decode() for value in sha256.numpy()]
        parts.append(frame(contents, split, labels, score(pictures.numpy()), names))
    return pd.concat(parts, ignore_index=True)


def measure(predictions: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return `evaluation.recall.summary` of a predictions table."""
    labels = params.labels
    return summary(*arrays(predictions, labels.names), labels.names, labels.unsafe, params.evaluate.confidence)


def key_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evidence's single numbers, for `dvc metrics`; what is not known is left out."""
    points = ("threshold", "recall", "precision", "false_positive_rate", "at_prevalence")
    figures = {
        "calibration": {key: value for key, value in found["calibration"].items() if key != "bins"},
        "operating_points": {
            name: {key: point[key] for key in points} for name, point in found["operating_points"].items()
        },
        "worst_distortion": found["robustness"]["worst"],
        "slice_gap": found["slices"]["gap"],
        "leaks": {key: found["leaks"][key] for key in ("near", "share", "straddling")},
    }
    return {key: value for key, value in figures.items() if value is not None}


def draw(
    frozen: Mapping[str, Any], tuned: Mapping[str, Any], predictions: pd.DataFrame, labels: Labels, out: Path
) -> None:
    """Write the plots: pictures for people, tables for `dvc plots`."""
    counts, names, unsafe = np.array(tuned["confusion"]), labels.names, labels.unsafe
    plots.save(
        plots.confusion_figure(counts, names, unsafe=unsafe, title="test set, fine-tuned"), out / "confusion.png"
    )
    plots.save(plots.recall_figure(frozen, tuned, unsafe=unsafe, title="recall on the test set"), out / "recall.png")
    table = pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=list(names))
    tables.write_csv(table.reset_index(), out / "confusion_table.csv")
    pairs = {"actual": predictions["label"].tolist(), "predicted": answers(predictions, names)}
    tables.write_csv(pd.DataFrame(pairs), out / "confusion.csv")
    corners = evidence_plots.precision_recall(*arrays(predictions, names), names, unsafe)
    whole = corners[corners["curve"] == evidence_plots.UNSAFE]
    tables.write_csv(whole[["recall", "precision", "threshold"]], out / "pr.csv")


def curves(records_by_stage: Mapping[str, RunRecord]) -> pd.DataFrame:
    """Return every epoch of every training stage: `stage, epoch` and its metrics."""
    rows = [
        {"stage": stage, "epoch": line["epoch"], **line["metrics"]}
        for stage, record in records_by_stage.items()
        for line in record.metrics()
        if line["epoch"] is not None
    ]
    return pd.DataFrame(rows)


def main() -> None:
    """Evaluate both models."""
    params = load_params()
    labels = params.labels
    frozen_test = predict(keras_score(network.load(paths.HEAD / paths.MODEL_FILE)), "test", params)
    score = keras_score(network.load(paths.FINETUNED / paths.MODEL_FILE))
    predictions = pd.concat([predict(score, split, params) for split in ("val", "test")], ignore_index=True)
    tuned_test = predictions[predictions["split"] == "test"]
    frozen, tuned = measure(frozen_test, params), measure(tuned_test, params)
    found = evidence.collect(score, params.backbone.size, predictions, params)
    found["model_sha256"] = digest(paths.FINETUNED / paths.MODEL_FILE)
    tables.write_parquet(predictions, paths.PREDICTIONS)
    evidence.write(found, predictions, paths.EVIDENCE)
    draw(frozen, tuned, tuned_test, labels, paths.PLOTS)
    stages = {"train": RunRecord.load(paths.HEAD), "finetune": RunRecord.load(paths.FINETUNED)}
    tables.write_csv(curves(stages), paths.PLOTS / "epochs.csv")
    with files.atomic(paths.REPORTS_DIR / "article.md") as temporary:
        temporary.write_text(article_markdown(article_table(frozen, tuned)), encoding="utf-8")
    # The confusion matrix has a table of its own; `dvc metrics show` is for single numbers.
    kept = {name: {key: value for key, value in report.items() if key != "confusion"}
            for name, report in (("frozen", frozen), ("finetuned", tuned))}  # fmt: skip
    reports = {key: value for key, value in found["reports"].items() if key != "wrong"}
    document = {**kept, "reports": reports, "evidence": key_figures(found)}
    files.write_json(document, paths.METRICS / "evaluate.json")
