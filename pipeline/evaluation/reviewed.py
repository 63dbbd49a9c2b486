"""Figures of a model from people's work: on reported pictures, and on labels before and after their decisions."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from pipeline.core.decisions import ACTS, DROP, ESCALATE, UNSURE
from pipeline.evaluation import predictions as table
from pipeline.evaluation.label_match import LabelMatch, matched_summary

_EXCLUDED = {"dropped": DROP, "unsure": UNSURE, "escalated": ESCALATE}


def regression(reports: pd.DataFrame, predictions: pd.DataFrame, match: LabelMatch) -> dict[str, Any]:
    """Return cases (all reports), right, missing (without a usable picture) and wrong (rows in the reports' order).

    A row of wrong has sha256, expected_label, said (the predicted label), ticket. A report of a class that the model
    has no label for is right if prediction and class are both unsafe, or both safe.
    """
    by_sha256 = pd.Series(table.predicted_classes(predictions, match.labels), index=predictions["sha256"], dtype="str")
    by_sha256 = by_sha256[~by_sha256.index.duplicated()]
    predicted = reports["sha256"].map(by_sha256)
    missing = predicted.isna()
    answered = zip(predicted, reports["expected_label"], missing, strict=True)
    hits = [not lacks and match.is_right(label, expected) for label, expected, lacks in answered]
    right = pd.Series(hits, index=reports.index, dtype=bool)
    wrong = reports[~missing & ~right].copy()
    wrong["said"] = predicted
    return {
        "cases": len(reports),
        "right": int(right.sum()),
        "missing": int(missing.sum()),
        "wrong": wrong[["sha256", "expected_label", "said", "ticket"]].to_dict("records"),
    }


def raw_labels(catalog: pd.DataFrame, names: Collection[str]) -> pd.Series:
    """Return by sha256 the label under which each picture was sighted, if it is a single one and a known one.

    `catalog` has `sha256` and `labels` (a list).
    """
    single = catalog[catalog["labels"].str.len() == 1]
    labels = pd.Series(single["labels"].str[0].to_numpy(), index=single["sha256"].to_numpy(), dtype="str")
    return labels[labels.isin(list(names))]


def compare_labels(
    test: pd.DataFrame,
    unsure: pd.DataFrame,
    raw: pd.Series,
    decided: pd.Series,
    match: LabelMatch,
    confidence: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of the same predictions under the raw labels and under the decided ones.

    `test`: predictions. `unsure`: those of pictures that would be test if people could tell their label. `raw`:
    `raw_labels`. `decided`: people's decisions by sha256. Both results have pictures, relabelled (test pictures whose
    label people changed), summary (`label_match.matched_summary`, None without pictures), and of all splits changed
    (pictures that got another label, or one of several), confirmed (their label was right), dropped, unsure and
    escalated. Pictures sighted under several labels are only in the decided set, once a person has decided; unsure ones
    only in the raw set.
    """
    before = test["sha256"].map(raw)
    known = before.notna()
    counts = {
        "relabelled": int((before[known] != test.loc[known, "label"]).sum()),
        "changed": int((~decided.isin(ACTS) & (decided != decided.index.to_series().map(raw))).sum()),
        "confirmed": int((decided == decided.index.to_series().map(raw)).sum()),
        **{name: int((decided == act).sum()) for name, act in _EXCLUDED.items()},
    }
    raw_test = pd.concat([test[known].assign(label=before[known]), unsure])
    sets = []
    for part in (raw_test, test):
        figures = matched_summary(*match.arrays(part), match, confidence) if len(part) else None
        sets.append({"pictures": len(part), **counts, "summary": figures})
    return sets[0], sets[1]
