"""Slices of the test set: where a model is worse than its average says.

Families: `source` (the batch), `size` (of the original, in pixels), `format`, and `tag` (people's, of data/slices.csv).
A picture may lie in several slices of a family (seen in two batches, tagged twice) and counts in each. Group figures
are fairlearn's MetricFrame; intervals are Wilson's, for MetricFrame's bootstrap has width 0 where nothing was missed
and none where a draw leaves a group empty.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation.recall import wilson

FAMILIES = ("source", "size", "format", "tag")
# Pixels of the original: below 256 x 256 most models enlarge it; above 1024 x 1024 they drop nearly all of it.
MEDIUM, LARGE = 256 * 256, 1024 * 1024

Count = Callable[[npt.ArrayLike, npt.ArrayLike], int]


def size_class(pixels: pd.Series) -> pd.Series:
    """Return small (under 256 x 256 pixels), medium, or large (1024 x 1024 and more)."""
    names = np.select([pixels < MEDIUM, pixels < LARGE], ["small", "medium"], "large")
    return pd.Series(names, index=pixels.index)


def memberships(catalog: pd.DataFrame, tags: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, family, slice`, one row for each slice that a picture lies in.

    `catalog` has `sha256, sources (a list), width, height, format`; `tags` has `sha256, slice`.
    """
    size = size_class(catalog["width"] * catalog["height"])
    parts = {
        "source": catalog[["sha256", "sources"]].explode("sources").rename(columns={"sources": "slice"}),
        "size": pd.DataFrame({"sha256": catalog["sha256"], "slice": size}),
        "format": catalog[["sha256", "format"]].rename(columns={"format": "slice"}),
        "tag": tags[["sha256", "slice"]],
    }
    rows = pd.concat([part.assign(family=family) for family, part in parts.items()], ignore_index=True)
    return rows[["sha256", "family", "slice"]].astype("str").drop_duplicates(ignore_index=True)


def measure(
    judged: pd.DataFrame, member: pd.DataFrame, names: Sequence[str], unsafe: Collection[str], confidence: float
) -> list[dict[str, Any]]:
    """Return a row for each slice that has a picture, by family and name, ready for JSON.

    `judged`: `sha256, label, said` (class names) of each test picture; `member` as `memberships` gives it.
    Keys: family, slice, pictures, unsafe_pictures, accuracy, accuracy_interval, unsafe_recall (unsafe pictures called
    any unsafe class), unsafe_recall_interval; the last two are None in a slice without unsafe pictures.
    """
    index = {name: place for place, name in enumerate(names)}
    coded = judged.assign(label=judged["label"].map(index), said=judged["said"].map(index))
    rows = member.merge(coded, on="sha256")
    counts = _counts(np.array([name in unsafe for name in names]))
    found: list[dict[str, Any]] = []
    for family in FAMILIES:
        part = rows[rows["family"] == family]
        if len(part):
            found += _family(family, part, counts, confidence)
    return found


def gap(rows: Sequence[Mapping[str, Any]], min_slice: int) -> dict[str, Any] | None:
    """Return the family whose slices' unsafe recalls lie farthest apart: family, best, worst (slices), gap (0..1).

    Slices with fewer than `min_slice` unsafe pictures are not judged; None where no family has two that are.
    """
    gaps = []
    for family in FAMILIES:
        judged = [row for row in rows if row["family"] == family and row["unsafe_pictures"] >= max(1, min_slice)]
        if len(judged) > 1:
            best = max(judged, key=lambda row: row["unsafe_recall"])
            worst = min(judged, key=lambda row: row["unsafe_recall"])
            apart = best["unsafe_recall"] - worst["unsafe_recall"]
            gaps.append({"family": family, "best": best["slice"], "worst": worst["slice"], "gap": apart})
    return max(gaps, key=lambda found: found["gap"], default=None)


def _family(family: str, rows: pd.DataFrame, counts: Mapping[str, Count], confidence: float) -> list[dict[str, Any]]:
    from fairlearn.metrics import MetricFrame

    frame = MetricFrame(
        metrics=dict(counts),
        y_true=rows["label"].to_numpy(),
        y_pred=rows["said"].to_numpy(),
        sensitive_features=rows["slice"].rename(family),
    )
    found = []
    for name, row in frame.by_group.sort_index().iterrows():
        pictures, right, unsafe, caught = (int(row[key]) for key in counts)
        found.append(
            {
                "family": family,
                "slice": str(name),
                "pictures": pictures,
                "unsafe_pictures": unsafe,
                "accuracy": right / pictures,
                "accuracy_interval": wilson(right, pictures, confidence),
                "unsafe_recall": caught / unsafe if unsafe else None,
                "unsafe_recall_interval": wilson(caught, unsafe, confidence),
            }
        )
    return found


def _counts(members: npt.NDArray[np.bool_]) -> dict[str, Count]:
    """Return what is counted of a group, given (label indices, indices that were said); `members`: unsafe classes."""
    return {
        "pictures": lambda label, _: int(np.size(label)),
        "right": lambda label, said: int(np.equal(label, said).sum()),
        "unsafe": lambda label, _: int(members[np.asarray(label)].sum()),
        "caught": lambda label, said: int((members[np.asarray(label)] & members[np.asarray(said)]).sum()),
    }
