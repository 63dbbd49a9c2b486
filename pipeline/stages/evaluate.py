"""Measure both models on the test set: recall by class with intervals, the confusion matrix, the article's table.

Reads   build/packed/, build/head/, build/finetuned/, data/reports.csv
Writes  build/predictions.parquet, metrics/evaluate.json, plots/, reports/article.md
Run     dvc repro evaluate
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import files, paths, tables
from pipeline.evaluation import plots
from pipeline.evaluation.article import article_markdown, article_table
from pipeline.evaluation.recall import summary
from pipeline.model import network, records
from pipeline.params import Labels, Params, load_params
from pipeline.tracking.record import RunRecord

REPORT_COLUMNS = ("sha256", "expected_label", "slice", "ticket", "reported_at")


def predict(model: Any, split: str, params: Params) -> pd.DataFrame:
    """Return `sha256, split, label, p_<class>...` of a packed split, in packed order."""
    names = params.labels.names
    parts = []
    for pictures, label, sha256 in records.pictures(
        records.packed_files(paths.PACKED, split), params.backbone.size, 128
    ):
        part = pd.DataFrame(model.predict_on_batch(pictures), columns=[f"p_{name}" for name in names])
        part.insert(0, "sha256", [value.decode() for value in sha256.numpy()])
        part.insert(1, "split", split)
        part.insert(2, "label", [names[index] for index in label.numpy()])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def arrays(predictions: pd.DataFrame, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return (probabilities (n, classes), label indices (n,)) of a predictions table."""
    probabilities = predictions[[f"p_{name}" for name in labels.names]].to_numpy()
    return probabilities, predictions["label"].map(labels.names.index).to_numpy()


def measure(predictions: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return `evaluation.recall.summary` of a predictions table."""
    labels = params.labels
    return summary(*arrays(predictions, labels), labels.names, labels.unsafe, params.evaluate.confidence)


def regression(reports: pd.DataFrame, predictions: pd.DataFrame, labels: Labels) -> dict[str, int]:
    """Count public reports: in all, answered right by the model, and without a usable picture."""
    probabilities, _ = arrays(predictions, labels)
    said = pd.Series([labels.names[index] for index in probabilities.argmax(axis=1)], index=predictions["sha256"])
    answers = reports["sha256"].map(said)
    return {
        "cases": len(reports),
        "right": int((answers == reports["expected_label"]).sum()),
        "missing": int(answers.isna().sum()),
    }


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
    probabilities, truth = arrays(predictions, labels)
    said = [names[index] for index in probabilities.argmax(axis=1)]
    tables.write_csv(
        pd.DataFrame({"actual": [names[index] for index in truth], "predicted": said}), out / "confusion.csv"
    )


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
    frozen_test = predict(network.load(paths.HEAD / paths.MODEL_FILE), "test", params)
    model = network.load(paths.FINETUNED / paths.MODEL_FILE)
    predictions = pd.concat([predict(model, split, params) for split in ("val", "test")], ignore_index=True)
    tuned_test = predictions[predictions["split"] == "test"]
    frozen, tuned = measure(frozen_test, params), measure(tuned_test, params)
    reports = tables.read_csv(paths.REPORTS, REPORT_COLUMNS)
    tables.write_parquet(predictions, paths.PREDICTIONS)
    draw(frozen, tuned, tuned_test, labels, paths.PLOTS)
    stages = {"train": RunRecord.load(paths.HEAD), "finetune": RunRecord.load(paths.FINETUNED)}
    tables.write_csv(curves(stages), paths.PLOTS / "epochs.csv")
    with files.atomic(paths.REPORTS_DIR / "article.md") as temporary:
        temporary.write_text(article_markdown(article_table(frozen, tuned)), encoding="utf-8")
    # The confusion matrix has a table of its own; `dvc metrics show` is for single numbers.
    kept = {name: {key: value for key, value in report.items() if key != "confusion"}
            for name, report in (("frozen", frozen), ("finetuned", tuned))}  # fmt: skip
    files.write_json({**kept, "reports": regression(reports, predictions, labels)}, paths.METRICS / "evaluate.json")
