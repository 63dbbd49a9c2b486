"""The tables of an audit: every label's support, the contradicted labels, and counts of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation import label_quality
from pipeline.evaluation.fold_regressions import Features
from pipeline.evaluation.label_issues import rank_label_issues

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

ISSUES = [
    "sha256",
    "label",
    "suggested",
    "score",
    "rank",
    "pair_rank",
    "kind",
    "split",
    "cluster",
    "source",
    "agreement",
]


def quality(
    pictures: pd.DataFrame, features: Features, labels: Integers, probabilities: Floats, names: Sequence[str]
) -> pd.DataFrame:
    """Return every label's support: the columns of `pictures`, `suggested, score, agreement, kind`, and `p_<class>`.

    Args:
        pictures: `sha256, label, split, cluster, source`.
        features: Of n pictures; the clean view is used.
        labels: Shape (n,), integers 0..classes-1.
        probabilities: Shape (n, classes).
        names: The classes.

    """
    nearest, distance = label_quality.neighbours(features, pictures["cluster"].to_numpy())
    return pictures[["sha256", "label", "split", "cluster", "source"]].assign(
        suggested=[names[index] for index in probabilities.argmax(axis=1)],
        score=probabilities[np.arange(len(labels)), labels].round(6),
        agreement=label_quality.agreement(nearest, labels).round(3),
        kind=label_quality.kinds(labels, probabilities, distance),
        **{f"p_{name}": probabilities[:, index].round(6) for index, name in enumerate(names)},
    )


def issues(supported: pd.DataFrame, labels: Integers, probabilities: Floats) -> pd.DataFrame:
    """Return the contradicted labels, the likeliest wrong one first: the columns ISSUES.

    `rank` counts over all, `pair_rank` within each pair of label and suggestion. `supported`: see `quality`.
    """
    ranked = rank_label_issues(labels, probabilities)
    rows = supported.iloc[ranked["index"]].reset_index(drop=True)
    rows = rows.assign(rank=ranked["rank"].to_numpy())
    return rows.assign(pair_rank=rows.groupby(["label", "suggested"]).cumcount() + 1)[list(ISSUES)]


def summarize(
    contradicted: pd.DataFrame, wrong: set[str], most: int, pictures: int, names: Sequence[str]
) -> dict[str, object]:
    """Return counts of pictures, of contradicted labels, and of the listed ones by label, pair, kind and split.

    `expected` of the first hundred and so on: how many of them are `wrong` (flagged by confident learning).
    """
    listed = contradicted.head(most)
    by_pair = (listed["label"] + " -> " + listed["suggested"]).value_counts().sort_index().to_dict()
    by_label = listed["label"].value_counts().reindex(list(names), fill_value=0)
    hundreds = range(0, len(listed), 100)
    return {
        "pictures": pictures,
        "contradicted": len(contradicted),
        "suspicious": len(listed),
        "estimated_wrong": len(wrong),
        "expected_by_hundred": [int(listed["sha256"].iloc[at : at + 100].isin(wrong).sum()) for at in hundreds],
        "by_label": by_label.to_dict(),
        "by_pair": by_pair,
        "by_kind": listed["kind"].value_counts().sort_index().to_dict(),
        "by_split": listed["split"].value_counts().sort_index().to_dict(),
    }
