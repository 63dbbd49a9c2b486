"""Slices of the test set, which show where a model is worse than on average.

Families: `source` (the batch), `size` (of the original, in pixels), `format`, and `tag` (people's, of data/slices.csv).
A picture may be in several slices of a family (seen in two batches, tagged twice) and counts in each. Intervals are
Wilson's, because those of a bootstrap have width 0 where nothing was missed.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation.recall import wilson

FAMILIES = ("source", "size", "format", "tag")
REPORTED = "reported"  # the family of the slices that public reports name
WITHOUT = "(no slice)"
# Pixels of the original: most models enlarge a picture below 256 x 256, and discard most of one above 1024 x 1024.
MEDIUM, LARGE = 256 * 256, 1024 * 1024


def size_class(pixels: pd.Series) -> pd.Series:
    """Return small (under 256 x 256 pixels), medium, or large (1024 x 1024 and more)."""
    names = np.select([pixels < MEDIUM, pixels < LARGE], ["small", "medium"], "large")
    return pd.Series(names, index=pixels.index)


def memberships(catalog: pd.DataFrame, tags: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, family, slice`, one row for each slice that a picture is in.

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
    judged: pd.DataFrame,
    member: pd.DataFrame,
    names: Sequence[str],
    unsafe: Collection[str],
    confidence: float,
    known: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each slice that has a picture, by family and name, ready for JSON.

    `judged`: `sha256, label, said` (class names) of each test picture; `member` as `memberships` gives it.
    Keys: family, slice, pictures, unsafe_pictures, accuracy, accuracy_interval, unsafe_recall (unsafe pictures called
    any unsafe class), unsafe_recall_interval, false_positive_rate (safe pictures called any unsafe class),
    false_positive_rate_interval. A figure is None in a slice without such pictures. `known`: the classes that are
    judged as such, if not all of `names`; the accuracy is of their pictures, None without any.
    """
    index = {name: i for i, name in enumerate(names)}
    coded = judged.assign(**{column: judged[column].map(index) for column in ("label", "said")})
    rows = member.merge(coded, on="sha256")
    is_unsafe = np.array([name in unsafe for name in names])
    is_known = np.array([known is None or name in known for name in names])
    figures: list[dict[str, Any]] = []
    for family in (*FAMILIES, REPORTED):
        part = rows[rows["family"] == family]
        if len(part):
            figures += _family(family, part, is_unsafe, is_known, confidence)
    return figures


def gap(rows: Sequence[Mapping[str, Any]], min_slice: int) -> dict[str, Any] | None:
    """Return the family with the largest difference of unsafe recall: family, best, worst (slices), gap (0..1).

    Slices with fewer than `min_slice` unsafe pictures are left out; None if no family has two others.
    """
    gaps = []
    for family in FAMILIES:
        judged = [row for row in rows if row["family"] == family and row["unsafe_pictures"] >= max(1, min_slice)]
        if len(judged) > 1:
            best = max(judged, key=lambda row: row["unsafe_recall"])
            worst = min(judged, key=lambda row: row["unsafe_recall"])
            difference = best["unsafe_recall"] - worst["unsafe_recall"]
            gaps.append({"family": family, "best": best["slice"], "worst": worst["slice"], "gap": difference})
    return max(gaps, key=lambda row: row["gap"], default=None)


def _family(
    family: str,
    rows: pd.DataFrame,
    is_unsafe: npt.NDArray[np.bool_],
    is_known: npt.NDArray[np.bool_],
    confidence: float,
) -> list[dict[str, Any]]:
    label, predicted = rows["label"].to_numpy(), rows["said"].to_numpy()
    flags = pd.DataFrame(
        {
            "pictures": np.ones(len(rows), dtype=bool),
            "known": is_known[label],
            "right": is_known[label] & (label == predicted),
            "unsafe": is_unsafe[label],
            "caught": is_unsafe[label] & is_unsafe[predicted],
            "withheld": ~is_unsafe[label] & is_unsafe[predicted],
        }
    )
    counts = flags.groupby(rows["slice"].to_numpy()).sum()
    figures = []
    for name, pictures, judged, right, unsafe, caught, withheld in counts.itertuples(name=None):
        figures.append(
            {
                "family": family,
                "slice": str(name),
                "pictures": pictures,
                "unsafe_pictures": unsafe,
                "accuracy": right / judged if judged else None,
                "accuracy_interval": wilson(right, judged, confidence),
                "unsafe_recall": caught / unsafe if unsafe else None,
                "unsafe_recall_interval": wilson(caught, unsafe, confidence),
                "false_positive_rate": withheld / (pictures - unsafe) if pictures > unsafe else None,
                "false_positive_rate_interval": wilson(withheld, pictures - unsafe, confidence),
            }
        )
    return figures
