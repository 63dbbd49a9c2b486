"""What both training stages do around the fit: the run record's end, for people to look at."""

from collections.abc import Mapping

import numpy as np

from pipeline.evaluation import plots
from pipeline.evaluation.recall import confusion
from pipeline.params import Labels
from pipeline.tracking.record import RunRecord


def log_result(
    record: RunRecord, best: Mapping[str, float], probabilities: np.ndarray, truth: np.ndarray, labels: Labels
) -> None:
    """Log the best epoch's overall metrics as `best_<name>`, its confusion matrix on validation, and the curves."""
    record.log_summary({f"best_{name}": value for name, value in best.items() if "/" not in name})
    counts = confusion(truth, probabilities.argmax(axis=1), len(labels.names))
    matrix = plots.confusion_figure(counts, labels.names, unsafe=labels.unsafe, title="validation, best epoch")
    plots.save(matrix, record.artifact("confusion_val.png"))
    epochs = [line["metrics"] for line in record.metrics() if line["epoch"] is not None]
    plots.save(plots.curves_figure(epochs, labels.names, title=record.kind), record.artifact("curves.png"))
