"""The three annotation files: their columns, and what each cell may be.

    rows = annotation_files.decisions(paths.DECISIONS, params.labels.names)
    label_by_sha256 = annotation_files.latest(rows)

All are append-only. Of a picture's decisions the last row wins; each report stays a regression case.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from pipeline.core import csv_rows
from pipeline.core.csv_rows import Column, quote
from pipeline.core.decisions import ACTS, KEEP

DECISIONS = ("sha256", "old_label", "new_label", "reviewer", "reason", "decided_at", "model_version")
REPORTS = ("sha256", "expected_label", "slice", "ticket", "reported_at")
SLICES = ("sha256", "slice")
REGRESSION = "regression"  # the split of reported pictures, where params.yaml does not say test
_CHECKED = ("line", "sha256", "old_label", "new_label")


def decisions(path: Path, labels: Sequence[str]) -> pd.DataFrame:
    """Return `sha256, old_label, new_label, reviewer, reason, decided_at, model_version, line`: texts, and an int.

    `new_label` is one of `labels`, or drop, keep, unsure or escalate (pipeline/core/decisions.py). `old_label` may be a
    label that no longer exists; beside `keep` it is the one label that a person confirmed.

    Raises:
        UserError: the file cannot be read, or has wrong rows.

    """
    checks = {"new_label": _one_of((*labels, *ACTS)), "decided_at": _date}
    rows = csv_rows.read(path, _columns(DECISIONS, checks, required=("new_label",)))
    unnamed = rows[(rows["new_label"] == KEEP) & ~rows["old_label"].isin(list(labels))]
    csv_rows.refuse(
        path,
        [
            (line, f"old_label is {quote(old)}; beside keep it must be the confirmed label: {', '.join(labels)}")
            for line, old in zip(unnamed["line"], unnamed["old_label"], strict=True)
        ],
    )
    return rows


def latest(rows: pd.DataFrame) -> pd.Series:
    """Return the last decision about each picture, by sha256: a label, drop, unsure or escalate.

    A label that was confirmed (`keep`) is decided like any other.
    """
    last = rows.drop_duplicates("sha256", keep="last").set_index("sha256")
    return last["new_label"].where(last["new_label"] != KEEP, last["old_label"])


def check_confirmed(path: Path, rows: pd.DataFrame, labels: Mapping[str, Collection[str]]) -> None:
    """Check that every `keep` confirms a label that its picture has, or had by an earlier decision.

    `labels`: of every catalogued picture, those under which it was sighted; a picture that is none is not checked.

    Raises:
        UserError: it names each row that does not.

    """
    had = {sha256: set(known) for sha256, known in labels.items()}
    problems = []
    for line, sha256, old, new in zip(*(rows[name] for name in _CHECKED), strict=True):
        known = had.get(sha256)
        if new == KEEP and known is not None and old not in known:
            problems.append((line, f"keep confirms {old}, but the picture has {', '.join(sorted(known))}"))
        elif new not in ACTS:
            had.setdefault(sha256, set()).add(new)
    csv_rows.refuse(path, problems)


def reports(path: Path, labels: Sequence[str]) -> pd.DataFrame:
    """Return `sha256, expected_label, slice, ticket, reported_at, line`: texts, and an int.

    Raises:
        UserError: the file cannot be read, has wrong rows, or expects two labels of one picture.

    """
    checks = {"expected_label": _one_of(labels), "reported_at": _date}
    rows = csv_rows.read(path, _columns(REPORTS, checks, required=("expected_label",)))
    first = rows.drop_duplicates("sha256").set_index("sha256")
    before = rows["sha256"].map(first["expected_label"])
    contrary = rows[before != rows["expected_label"]]
    csv_rows.refuse(
        path,
        [
            (line, f"expected_label {label} contradicts line {first.loc[sha256, 'line']}, which has {other}; keep one")
            for line, sha256, label, other in zip(
                contrary["line"], contrary["sha256"], contrary["expected_label"], before[contrary.index], strict=True
            )
        ],
    )
    return rows


def slices(path: Path) -> pd.DataFrame:
    """Return `sha256, slice, line`: texts, and an int; a picture may lie in several slices.

    Raises:
        UserError: the file cannot be read, or has wrong rows.

    """
    return csv_rows.read(path, _columns(SLICES, {}, required=("slice",)))


def _columns(
    names: Sequence[str], checks: dict[str, Callable[[str], str]], required: Sequence[str]
) -> tuple[Column, ...]:
    checks = {"sha256": _sha256} | checks
    return tuple(Column(name, checks.get(name, str), name in ("sha256", *required)) for name in names)


def _sha256(cell: str) -> str:
    digest = cell.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"is {quote(cell)}, not 64 hexadecimal digits")
    return digest


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if cell not in allowed:
            raise ValueError(f"is {quote(cell)}; allowed: {', '.join(allowed)}")
        return cell

    return parse


def _date(cell: str) -> str:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError(f"is {quote(cell)}, not a date like 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return cell
