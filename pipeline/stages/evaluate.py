"""Measure both models on the test set, and collect the evidence on the fine-tuned one, which the gates read.

Reads   build/packed/, build/head/, build/finetuned/, build/catalog.parquet, build/splits.parquet, data/
Writes  build/predictions.parquet, build/evidence/, metrics/evaluate.json, metrics/{frozen,finetuned}.json (the few
        numbers that `dvc metrics` shows), plots/, reports/article.md
Run     dvc repro evaluate
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.evaluation import evidence_plots, headline_metrics, plots
from pipeline.evaluation.article_table import article_markdown, article_table
from pipeline.evaluation.predictions import arrays, frame
from pipeline.evaluation.recall import summary
from pipeline.evidence import collecting
from pipeline.evidence.scoring import Score, judged_splits, keras_score
from pipeline.model import features_file, network
from pipeline.params.labels import Labels
from pipeline.params.root import Params, load_params
from pipeline.tracking.lineage import digest
from pipeline.tracking.run_record import RunRecord
from pipeline.training import packed_records

MODELS = ("frozen", "finetuned")

_log = logging.getLogger(__name__)


def predict(score: Score, split: str, params: Params) -> pd.DataFrame:
    """Return `sha256, split, label, p_<class>...` of a packed split, in packed order."""
    names = params.labels.names
    parts = []
    for pictures, label, sha256 in packed_records.pictures(
        packed_records.packed_files(paths.PACKED, split), params.backbone.size, 128
    ):
        labels = [names[index] for index in label.numpy()]
        contents = [value.decode() for value in sha256.numpy()]
        parts.append(frame(contents, split, labels, score(pictures.numpy()), names))
    return pd.concat(parts, ignore_index=True)


def load(folder: Path, params: Params) -> tuple[Path, Score]:
    """Return the model of a training, its file and its answers."""
    if params.backbone.name == FEATURES_FILE:
        path = folder / paths.ONNX_FILE
        return path, features_file.load(path)
    path = folder / paths.MODEL_FILE
    return path, keras_score(network.load(path))


def measure(predictions: pd.DataFrame, params: Params) -> dict[str, Any]:
    """Return `evaluation.recall.summary` of a predictions table."""
    labels = params.labels
    return summary(*arrays(predictions, labels.names), labels.names, labels.unsafe, params.evaluate.confidence)


def draw(
    frozen: Mapping[str, Any], tuned: Mapping[str, Any], predictions: Mapping[str, pd.DataFrame], labels: Labels
) -> None:
    """Write the plots: PNGs, and tables for `dvc plots`. `predictions`: each model's, of the test set."""
    counts, names, unsafe, out = np.array(tuned["confusion"]), labels.names, labels.unsafe, paths.PLOTS
    plots.save(
        plots.confusion_figure(counts, names, unsafe=unsafe, title="test set, fine-tuned"), out / "confusion.png"
    )
    plots.save(plots.recall_figure(frozen, tuned, unsafe=unsafe, title="recall on the test set"), out / "recall.png")
    table = pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=list(names))
    tables.write_csv(table.reset_index(), out / "confusion_table.csv")
    for model, rows in predictions.items():
        corners = evidence_plots.precision_recall(*arrays(rows, names), names, unsafe)
        whole = corners[corners["curve"] == evidence_plots.UNSAFE]
        tables.write_csv(whole[["recall", "precision", "threshold"]], out / "precision_recall" / f"{model}.csv")


def curve(record: RunRecord) -> pd.DataFrame:
    """Return `epoch` and the metrics of every epoch of a training, for a table of its own (DVC joins one's rows)."""
    lines = [line for line in record.metrics() if line["epoch"] is not None]
    return pd.DataFrame([{"epoch": line["epoch"], **line["metrics"]} for line in lines])


def main() -> None:
    """Evaluate both models."""
    params = load_params()
    labels = params.labels
    frozen_test = predict(load(paths.HEAD, params)[1], "test", params)
    model, score = load(paths.FINETUNED, params)
    predictions = pd.concat([predict(score, split, params) for split in judged_splits()], ignore_index=True)
    tuned_test = predictions[predictions["split"] == "test"]
    frozen, tuned = measure(frozen_test, params), measure(tuned_test, params)
    sha256 = digest(model)
    document = collecting.collect(score, sha256, params.backbone.size, predictions, params)
    tables.write_parquet(predictions, paths.PREDICTIONS)
    collecting.write(document, predictions, paths.EVIDENCE)
    draw(frozen, tuned, dict(zip(MODELS, (frozen_test, tuned_test), strict=True)), labels)
    for stage, folder in (("train", paths.HEAD), ("finetune", paths.FINETUNED)):
        tables.write_csv(curve(RunRecord.load(folder)), paths.PLOTS / "epochs" / f"{stage}.csv")
    with files.atomic(paths.REPORTS_DIR / "article.md") as temporary:
        temporary.write_text(article_markdown(article_table(frozen, tuned)), encoding="utf-8")
    # The confusion matrix has a table of its own.
    reports_by_model = {name: {key: value for key, value in report.items() if key != "confusion"}
            for name, report in zip(MODELS, (frozen, tuned), strict=True)}  # fmt: skip
    evidence = document.to_json()
    reports = {key: value for key, value in evidence["reports"].items() if key not in {"wrong", "slices"}}
    metrics = {**reports_by_model, "reports": reports, "evidence": headline_metrics.key_figures(evidence)}
    files.write_json(metrics, paths.METRICS / "evaluate.json")
    files.write_json(headline_metrics.headline(frozen), paths.METRICS / "frozen.json")
    files.write_json(headline_metrics.headline(tuned, evidence), paths.METRICS / "finetuned.json")
    _log.info(
        "evaluate: macro recall %.1f %% frozen, %.1f %% fine-tuned, of %d test pictures",
        *(100 * report["macro_recall"] for report in (frozen, tuned)),
        tuned["pictures"],
    )
