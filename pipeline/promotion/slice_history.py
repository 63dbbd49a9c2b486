"""Recall and false positives by slice, over the versions: how a bias that people reported becomes a number, and less.

    rows = slice_history.collect([("3", before), ("4", document)])

Slices are those that people named: tags of test pictures (data/slices.csv), and slices of accepted reports.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.slices import REPORTED
from pipeline.evidence.checks import Slice
from pipeline.evidence.document import Document

MOST_SLICES, MOST_VERSIONS = 12, 8
_TAG = "tag"
FIGURES = ("unsafe_recall", "false_positive_rate")


def collect(documents: Sequence[tuple[str, Document]]) -> list[dict[str, Any]]:
    """Return a row for each slice of the last document in each of `documents` (version, evidence), oldest first.

    Keys: family (tag or reported), slice, version, pictures, unsafe_pictures, and each of FIGURES with its
    `<figure>_interval`; None where nothing is known. The slices with the most pictures come first.
    """
    documents = documents[-MOST_VERSIONS:]
    if not documents:
        return []
    by_version = [(version, named_slices(document)) for version, document in documents]
    last = by_version[-1][1]
    chosen = sorted(last, key=lambda name: (-last[name].pictures, name))[:MOST_SLICES]
    return [
        {"family": name[0], "slice": name[1], "version": version, **_figures(known.get(name))}
        for name in chosen
        for version, known in by_version
    ]


def named_slices(document: Document) -> dict[tuple[str, str], Slice]:
    """Return the slices that people named, by (family, name)."""
    rows = [*document.slices.rows, *document.reports.slices]
    return {(row.family, row.slice): row for row in rows if row.family in {_TAG, REPORTED}}


def _figures(known: Slice | None) -> dict[str, Any]:
    names = [name for figure in FIGURES for name in (figure, f"{figure}_interval")]
    counts = {name: getattr(known, name, 0) for name in ("pictures", "unsafe_pictures")}
    return counts | {name: getattr(known, name, None) for name in names}


def metrics(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, int]]:
    """Return (name, value, version) of every known figure and interval limit of numbered versions, for MLflow.

    A name is `slice/<family>/<slice>/unsafe_recall`, `.../unsafe_recall_low`, `.../unsafe_recall_high`, and the same of
    false positives.
    """
    values = []
    for row in rows:
        head = f"slice/{row['family']}/{row['slice']}"
        for figure in FIGURES:
            if row[figure] is not None and row["version"].isdecimal():
                low, high = row[f"{figure}_interval"]
                triple = ((figure, row[figure]), (f"{figure}_low", low), (f"{figure}_high", high))
                values += [(f"{head}/{name}", float(value), int(row["version"])) for name, value in triple]
    return values
