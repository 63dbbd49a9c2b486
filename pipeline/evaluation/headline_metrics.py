"""A selection of a model's numbers: for metrics/evaluate.json, and for what `dvc metrics` shows."""

from collections.abc import Mapping
from typing import Any


def key_figures(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evidence's single numbers, without unknown ones."""
    points = ("threshold", "recall", "precision", "false_positive_rate", "at_prevalence")
    numbers = {
        "calibration": {key: value for key, value in evidence["calibration"].items() if key != "bins"},
        "operating_points": {
            name: {key: point[key] for key in points} for name, point in evidence["operating_points"].items()
        },
        "worst_distortion": evidence["robustness"]["worst"],
        "slice_gap": evidence["slices"]["gap"],
        "leaks": {key: evidence["leaks"][key] for key in ("near", "share", "straddling")},
    }
    return {key: value for key, value in numbers.items() if value is not None} | {
        side: _labelled(evidence[side]) for side in ("raw", "cleaned")
    }


def _labelled(side: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of people's decisions, and the recalls under the raw or the cleaned labels."""
    counts = {key: value for key, value in side.items() if key != "summary"}
    summary = side["summary"] or {"accuracy": None, "macro_recall": None, "unsafe": {"recall": None}}
    recalls = {"accuracy": summary["accuracy"], "macro_recall": summary["macro_recall"]}
    return counts | recalls | {"unsafe_recall": summary["unsafe"]["recall"]}


def headline(measured: Mapping[str, Any], evidence: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return the few numbers of a model that `dvc metrics` shows and compares, without unknown ones.

    DVC sorts by name; the names put recall, the most important one, first. `evidence`: of the fine-tuned model only.
    """
    recalls = [value for value in measured["recall"].values() if value is not None]
    numbers = {
        "recall.macro": measured["macro_recall"],
        "recall.unsafe": measured["unsafe"]["recall"],
        "recall.worst_class": min(recalls, default=None),
        "top1_accuracy": measured["accuracy"],
        "unsafe_precision": measured["unsafe"]["precision"],
    }
    if evidence is not None:
        point, worst = evidence["operating_points"]["unsafe"], evidence["robustness"]["worst"] or {}
        numbers |= {
            "recall.unsafe_at_threshold": point["recall"],
            "recall.unsafe_worst_distortion": worst.get("unsafe_recall"),
            "threshold": point["threshold"],
            "unsafe_false_positive_rate": point["false_positive_rate"],
        }
    return {name: float(value) for name, value in numbers.items() if value is not None}
