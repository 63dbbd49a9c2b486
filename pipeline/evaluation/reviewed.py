"""What people's work says of a model: publicly reported pictures, and the labels before and after their decisions."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from pipeline.data.annotation_files import DROP
from pipeline.evaluation import predictions as table
from pipeline.evaluation.recall import summary


def regression(reports: pd.DataFrame, predictions: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return cases (reports in all), right, missing (no usable picture) and wrong: a row each, in the reports' order.

    A wrong row has sha256, expected_label, said (the model's class), ticket.
    """
    said = pd.Series(table.answers(predictions, names), index=predictions["sha256"], dtype="str")
    said = said[~said.index.duplicated()]
    answers = reports["sha256"].map(said)
    missing, right = answers.isna(), answers == reports["expected_label"]
    wrong = reports.assign(said=answers)[~missing & ~right]
    return {
        "cases": len(reports),
        "right": int(right.sum()),
        "missing": int(missing.sum()),
        "wrong": wrong[["sha256", "expected_label", "said", "ticket"]].to_dict("records"),
    }


def raw_labels(catalog: pd.DataFrame, names: Collection[str]) -> pd.Series:
    """Return, by sha256, the label under which each picture was sighted, where it is one and a known one.

    `catalog` has `sha256` and `labels` (a list).
    """
    single = catalog[catalog["labels"].str.len() == 1]
    labels = pd.Series(single["labels"].str[0].to_numpy(), index=single["sha256"].to_numpy(), dtype="str")
    return labels[labels.isin(list(names))]


def side_by_side(
    test: pd.DataFrame,
    raw: pd.Series,
    decided: pd.Series,
    names: Sequence[str],
    unsafe: Collection[str],
    confidence: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of the same predictions under the raw and under the decided labels.

    `test`: predictions. `raw`: `raw_labels`. `decided`: people's decisions by sha256. Both have pictures, relabelled
    (test pictures whose label people changed), dropped (pictures that people took out, of all splits) and summary
    (`evaluation.recall.summary`, None without pictures). Pictures sighted under several labels are in the cleaned
    set only, once a person has settled them.
    """
    before = test["sha256"].map(raw)
    known = before.notna()
    counts = {
        "relabelled": int((before[known] != test.loc[known, "label"]).sum()),
        "dropped": int((decided == DROP).sum()),
    }
    unclean = test[known].assign(label=before[known])
    sets = []
    for part in (unclean, test):
        figures = summary(*table.arrays(part, names), names, unsafe, confidence) if len(part) else None
        sets.append({"pictures": len(part), **counts, "summary": figures})
    return sets[0], sets[1]
