"""Whole evidence documents out of the few sections that a test is about."""

from copy import deepcopy
from typing import Any

from pipeline.evidence.document import SCHEMA, Document

_NOTHING_KNOWN = {
    "summary": {
        "pictures": 0,
        "accuracy": 0.0,
        "accuracy_interval": None,
        "macro_recall": 0.0,
        "macro_recall_interval": [0.0, 1.0],
        "loss": 0.0,
        "recall": {},
        "recall_interval": {},
        "precision": {},
        "unsafe": {"recall": None, "recall_interval": None, "precision": None, "precision_interval": None},
        "confusion": [],
    },
    "bootstrap": {
        "recall": {},
        "precision": {},
        "macro_recall": None,
        "unsafe_recall": None,
        "resamples": 100,
        "seed": 1,
    },
    "calibration": {
        "temperature": 1.0,
        "ece_before": None,
        "ece_after": None,
        "loss_before": 0.0,
        "loss_after": 0.0,
        "bins": {"before": [], "after": []},
    },
    "robustness": {"pictures": 0, "worst": None},
    "slices": {"rows": [], "gap": None, "min_slice": 20},
    "raw": {"pictures": 0, "relabelled": 0, "dropped": 0, "summary": None},
    "cleaned": {"pictures": 0, "relabelled": 0, "dropped": 0, "summary": None},
    "reports": {"cases": 0, "right": 0, "missing": 0, "wrong": []},
    "leaks": {
        "test_pictures": 0,
        "train_pictures": 0,
        "near": 0,
        "share": None,
        "straddling": 0,
        "threshold": 0.98,
        "pairs": [],
    },
}
_DOCUMENT = {
    "schema": SCHEMA,
    "model_sha256": "a" * 64,
    "labels": [],
    "unsafe": [],
    "size": 32,
    "confidence": 0.95,
    "test": {"digest": "d" * 64, "pictures": 0, "by_label": {}},
    "target_recall": 0.95,
    "operating_points": {},
    "policy": {},
    **_NOTHING_KNOWN,
}
_POINT = {
    "classes": [],
    "action": None,
    "threshold": None,
    "val_recall": None,
    "recall": None,
    "recall_interval": None,
    "precision": None,
    "precision_interval": None,
    "false_positive_rate": None,
    "false_positive_rate_interval": None,
    "at_prevalence": None,
}
_WORKLOAD = {
    "unsafe_share": 0.05,
    "precision": None,
    "precision_interval": None,
    "flagged_per_100000": 0.0,
    "flagged_per_100000_interval": [0.0, 0.0],
    "missed_per_100000": 0.0,
    "missed_per_100000_interval": [0.0, 0.0],
}


def complete(part: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a whole document: `part`, and of what it does not tell the little that has to be there."""
    document = _merged(_DOCUMENT, part)
    for name, point in document["operating_points"].items():
        document["operating_points"][name] = whole = _merged(_POINT, point)
        if whole["at_prevalence"] is not None:
            whole["at_prevalence"] = _merged(_WORKLOAD, whole["at_prevalence"])
    return document


def evidence(**sections: Any) -> Document:
    """The document that `complete` makes."""
    return Document.read(complete(sections))


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    merged = deepcopy(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else deepcopy(value)
    return merged
