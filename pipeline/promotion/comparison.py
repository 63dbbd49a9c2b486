"""Compare two versions on the same test pictures: recall with paired intervals, and pictures that changed sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.evaluation import calibration
from pipeline.evaluation import predictions as table
from pipeline.evaluation.rollups import ALL_UNSAFE
from pipeline.promotion import agreement, judging
from pipeline.promotion.changed_sides import moved_pictures
from pipeline.promotion.pairing import IncomparableError, PairedAnswers, Rescore, pair_answers
from pipeline.registry import state
from pipeline.registry.evidence_store import Evidence, EvidenceError
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

_WIDTH = 8  # of a column
MOST_SHOWN = 20  # pictures that changed sides, on a terminal


def compare(params: Params, before: str, after: str, rescore: Rescore | None = None) -> dict[str, Any]:
    """Return both versions' figures on the test pictures of `after`, and the pictures that changed sides.

    A picture's side is unsafe or safe, by its most probable class. Keys: model, before, after, findings, confidence;
    recall: rows of figure, before, after, change, interval, pictures; other: what each version's own threshold flags,
    as shares and in pictures of 100,000 at `evaluate.prevalence`, and figures of calibration, robustness, speed and
    size; moved: rows of MOVED_COLUMNS (unsafe_* are probabilities), the most serious first. Where the versions' labels
    differ, uncompared: which classes are not compared, and why.

    Raises:
        UserError: there is no such version, or the two cannot be compared.
        Unreachable: the server does not answer.

    """
    with server.session() as client:
        agreement.check(client, params.register_, before, after)
        now = state.read(client, params.register_)
        versions = [state.resolve(now, requested, params.register_) for requested in (before, after)]
        fetched = [judging.fetch_evidence(client, now.model, version) for version in versions]
    warnings = now.findings()
    try:
        left, right = (_require(evidence) for evidence in fetched)
        both = pair_answers(left, right, rescore)
    except (EvidenceError, IncomparableError) as error:
        raise UserError("\n".join([str(error), *(f"WARNING: {each}" for each in warnings)])) from None
    uncompared = {"uncompared": both.uncompared} if both.uncompared else {}
    return {
        "model": now.model,
        "before": versions[0],
        "after": versions[1],
        "findings": warnings,
        "confidence": params.evaluate.confidence,
        "recall": _rows(both, params),
        "other": _others(left, right),
        "moved": moved_pictures(both).to_dict("records"),
        **uncompared,
    }


def lines(report: dict[str, Any]) -> list[str]:
    """Return the lines of a comparison for a terminal."""
    percent = f"{100 * report['confidence']:g} %"
    text = [f"WARNING: {finding}" for finding in report["findings"]]
    text.append(f"{report['model']}: version {report['before']} -> {report['after']}, on the same test pictures")
    text.append(f"  {'':<22}{'before':>8}{'after':>8}{'change':>8}   paired {percent} interval   pictures")
    for row in report["recall"]:
        low, high = row["interval"]
        text.append(
            f"  {row['figure']:<22}{100 * row['before']:>7.1f} {100 * row['after']:>7.1f} {_points(row['change']):>7} "
            f"  {_points(low)} to {_points(high)}".ljust(78)
            + str(row["pictures"])
        )
    text += [f"  {report['uncompared']}"] if "uncompared" in report else []
    text += [f"  {row['figure']:<22}{_number(row['before'])}{_number(row['after'])}" for row in report["other"]]
    counts = pd.Series([row["side"] for row in report["moved"]], dtype="str").value_counts().sort_index()
    changes = ", ".join(f"{count} {side}" for side, count in counts.items()) or "none"
    text.append(f"pictures whose likeliest class changed sides: {changes}")
    for row in report["moved"][:MOST_SHOWN]:
        text.append(
            f"  {row['side']:<18} {row['sha256'][:16]}  {row['label']}: {row['said_before']} -> {row['said_after']}, "
            f"unsafe {row['unsafe_before']:.2f} -> {row['unsafe_after']:.2f}"
        )
    if len(report["moved"]) > MOST_SHOWN:
        text.append(f"  and {len(report['moved']) - MOST_SHOWN} more: --json, or --out FILE.csv")
    return text


def _require(evidence: Evidence | EvidenceError | None) -> Evidence:
    if isinstance(evidence, Evidence):
        return evidence
    raise evidence or EvidenceError("no evidence")


def _rows(both: PairedAnswers, params: Params) -> list[dict[str, Any]]:
    by_figure = both.differences(params)
    first = [name for name in ("unsafe_recall", "macro_recall") if name in by_figure]
    return [
        {
            "figure": name.replace("_", " ").replace("/", " "),
            "before": each.before,
            "after": each.after,
            "change": each.change,
            "interval": each.interval(params.evaluate.confidence),
            "pictures": each.pictures,
        }
        for name in [*first, *sorted(name for name in by_figure if name not in first)]
        for each in [by_figure[name]]
    ]


def _others(left: Evidence, right: Evidence) -> list[dict[str, Any]]:
    # What the top probability means depends on the labels; that a picture is unsafe means the same to all.
    alike = left.document.labels == right.document.labels
    error = "calibration error" if alike else "calibration, unsafe"

    def figures(evidence: Evidence) -> dict[str, float | None]:
        document, speed = evidence.document, evidence.facts.get("speed") or {}
        point, worst = document.operating_points.get(ALL_UNSAFE), document.robustness.worst
        workload = point.at_prevalence if point else None
        return {
            "threshold": point.threshold if point else None,
            "flagged, of unsafe": point.recall if point else None,
            "flagged, of safe": point.false_positive_rate if point else None,
            "review, of 100,000": workload.flagged_per_100000 if workload else None,
            error: document.calibration.ece_after if alike else _unsafe_calibration(evidence),
            "worst distortion": worst.unsafe_recall if worst else None,
            "p95 ms a picture": speed.get("p95_ms"),
            "size, MB": evidence.facts.get("size_mb"),
        }

    before, after = figures(left), figures(right)
    return [{"figure": name, "before": before[name], "after": after[name]} for name in before]


def _unsafe_calibration(evidence: Evidence) -> float | None:
    """Return the calibration error of the probability that a test picture is unsafe."""
    document, match = evidence.document, evidence.document.match
    test = evidence.predictions[evidence.predictions["split"] == "test"]
    unsafe = match.members[match.truth(test["label"])].astype(np.int64)
    answers = table.probabilities(test, match.labels)
    error: float | None = calibration.report(answers, unsafe, document.calibration.temperature, match.label_members)[
        "ece_after"
    ]
    return error


def _number(value: float | None) -> str:
    shown = "-" if value is None else (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")
    return f"{shown if len(shown) < _WIDTH else f'{value:.2g}':>{_WIDTH}}"


def _points(share: float) -> str:
    """Return a difference in percentage points; adding 0.0 turns -0.0 into +0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
