"""Reports the rows of people's annotation files that have no effect, and why."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

_SHOWN = 5

UNKNOWN, QUARANTINED, CONFLICT, DROPPED = "unknown", "quarantined", "conflict", "dropped"
UNSURE, ESCALATED = "unsure", "escalated"
COPY, UNUSED, OLD_LABEL, LABEL = "copy", "unused", "old_label_differs", "label_differs"

_WHY = {
    UNKNOWN: "no effect: no file in data/sightings has such a sha256 (mistyped, or of another version of the data)",
    QUARANTINED: "no effect: the picture is quarantined, build/quarantine.csv says why",
    CONFLICT: "no effect yet: the picture is in conflict (build/conflicts.csv) until data/decisions.csv settles it",
    DROPPED: "no effect: data/decisions.csv drops the picture, so it is in no test set",
    UNSURE: "no effect: data/decisions.csv says that nobody can tell its label, so it is in no test set",
    ESCALATED: "no effect: data/decisions.csv escalates the picture, or a copy of it, so it is in no test set",
    COPY: "no effect: another picture of its cluster stands for it (`nsfw duplicates explain SHA256` names it)",
    UNUSED: "no effect: the picture is quarantined, set aside, dropped or in conflict (`nsfw duplicates explain` it)",
    OLD_LABEL: "applied, but old_label is not a label that the picture has, or had by an earlier decision",
    LABEL: "applied, but expected_label is not the label that the picture has: the model cannot satisfy both",
}


@dataclass(frozen=True)
class Effects:
    """The number of rows of a file, and the rows that someone should look at, each with its line and reason."""

    path: Path
    rows: int
    reasons: pd.DataFrame  # line, sha256, reason

    def counts(self) -> dict[str, int]:
        """Return `rows`, and how many rows have each reason, ready for JSON."""
        return {"rows": self.rows, **dict(sorted(Counter(self.reasons["reason"]).items()))}

    def warning(self) -> str:
        """Return a warning that counts the rows by reason and names the first of each; "" if there are none."""
        if self.reasons.empty:
            return ""
        lines = [f"{self.path}: {len(self.reasons)} of {self.rows} row(s) to look at"]
        for reason, part in self.reasons.groupby("reason"):
            first = part.head(_SHOWN)
            named = [
                f"line {line} ({sha256[:12]})" for line, sha256 in zip(first["line"], first["sha256"], strict=True)
            ]
            more = [f"{len(part) - _SHOWN} more"] if len(part) > _SHOWN else []
            lines.append(f"  {', '.join([*named, *more])}: {_WHY[str(reason)]}")
        return "\n".join(lines)


def decision_effects(
    path: Path, rows: pd.DataFrame, labels: Mapping[str, Collection[str]], sighted: Collection[str]
) -> Effects:
    """Return the decisions that change nothing, or were made about another label than the picture has.

    `rows`: `schemas.decisions`. `labels`: of every catalogued picture, those under which it was sighted. `sighted`:
    every sha256 in data/sightings. An empty old_label claims nothing; of several, as `porn|sexy`, one must be right.
    """
    had = {sha256: set(known) for sha256, known in labels.items()}
    reasons = []
    for sha256, old, new in zip(rows["sha256"], rows["old_label"], rows["new_label"], strict=True):
        reason = _absent(sha256, labels, sighted)
        if not reason and old and not had[sha256] & set(old.split("|")):
            reason = OLD_LABEL
        reasons.append(reason)
        had.setdefault(sha256, set()).add(new)
    return _effects(path, rows, reasons)


def report_effects(path: Path, rows: pd.DataFrame, settled: pd.DataFrame, sighted: Collection[str]) -> Effects:
    """Return the reports that are no regression case, or expect another label than the picture is tested under.

    `rows`: `schemas.reports`. `settled`: `sha256, status, label` (null where it has none) of every catalogued picture.
    """
    status = dict(zip(settled["sha256"], settled["status"], strict=True))
    label = dict(zip(settled["sha256"], settled["label"], strict=True))
    reasons = []
    for sha256, expected in zip(rows["sha256"], rows["expected_label"], strict=True):
        reason = _absent(sha256, status, sighted)
        if not reason and status[sha256] in (CONFLICT, DROPPED, UNSURE, ESCALATED):
            reason = status[sha256]
        elif not reason and label[sha256] != expected:
            reason = LABEL
        reasons.append(reason)
    return _effects(path, rows, reasons)


def slice_effects(
    path: Path, rows: pd.DataFrame, in_splits: Collection[str], copies: Collection[str], sighted: Collection[str]
) -> Effects:
    """Return the tags on pictures that are in no split.

    `in_splits`: every picture of a split. `copies`: the other pictures of their clusters.
    """
    reasons = []
    for sha256 in rows["sha256"]:
        if sha256 in in_splits:
            reasons.append("")
        elif sha256 in copies:
            reasons.append(COPY)
        else:
            reasons.append(UNUSED if sha256 in sighted else UNKNOWN)
    return _effects(path, rows, reasons)


def _absent(sha256: str, catalogued: Collection[str], sighted: Collection[str]) -> str:
    if sha256 in catalogued:
        return ""
    return QUARANTINED if sha256 in sighted else UNKNOWN


def _effects(path: Path, rows: pd.DataFrame, reasons: list[str]) -> Effects:
    table = rows[["line", "sha256"]].assign(reason=pd.Series(reasons, index=rows.index, dtype="str"))
    return Effects(path, len(rows), table[table["reason"] != ""])
