"""Texts that explain why two pictures are one, and why one of them is kept."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline.duplicates import label_resolution

_METHODS = {
    "bytes": "the same bytes",
    "hash": "thumbnails agree as they stand, correlation {score:.2f}",
    "pieces": "laid over one another they agree piece by piece, median correlation {score:.2f}",
    "keypoints": "{score:.0f} keypoints agree",
}


def describe_match(row: Mapping[Any, Any]) -> str:
    """Return how a picture was matched with its cluster's representative: the distance, and the test that decided."""
    if row["sha256"] == row["representative"]:
        return "the others were held against it"
    return f"{row['distance']} of 256 bits apart; " + _METHODS[row["how"]].format(score=row["score"])


def explain_canonical(rows: pd.DataFrame) -> str:
    """Return why a cluster's canonical picture was selected, or why there is none.

    `rows`: the cluster's pictures, with `status, offered, rank, width, height, frame, quality, first_seen`.
    """
    canonical, rest = (
        rows[rows["status"] == label_resolution.CANONICAL],
        rows[rows["status"] == label_resolution.CONFLICT],
    )
    sentences = []
    if len(canonical):
        sentences.append(_reason(canonical.iloc[0], rows))
    if len(rest):
        offered = sorted({offer for offer in rest["offered"] if offer})
        labels = sorted({label for labels in rest["labels"] for label in labels})
        sentences.append(
            f"In conflict ({', '.join(labels)}), out of training until data/decisions.csv says"
            + (f"; a decision on another of them offers {', '.join(offered)}." if offered else ".")
        )
    return " ".join(sentences) or "None is kept: people took it out."


def _reason(canonical: pd.Series, rows: pd.DataFrame) -> str:
    others = rows[(rows["sha256"] != canonical["sha256"]) & (rows["status"] == label_resolution.DUPLICATE)]
    if others.empty:
        return "Kept: a decision names its label, or its copies are in conflict or dropped."
    best = others.sort_values("rank").iloc[0]
    if canonical["rank"] > best["rank"]:
        return "Kept: a public report names it."
    area, next_area = (int(row["width"]) * int(row["height"]) for row in (canonical, best))
    if canonical["frame"] < best["frame"]:
        return f"Kept: the largest without its frame; {best['frame']:.0%} of the next is frame."
    if area > next_area:
        mine, next_ = (f"{row['width']} × {row['height']}" for row in (canonical, best))
        return f"Kept: the largest, {mine} px; the next has {next_}."
    if canonical["quality"] > best["quality"]:
        return f"Kept: the best quality, {canonical['quality']:.2f}; the next has {best['quality']:.2f}."
    return "Kept: the first by dedupe.keep; it was seen first, or its sha256 is the lowest of equals."
