"""The gates: the conditions that a version has to meet to become production, each with its number and reason.

    table = gates.judge(params.register_.gates, case)
    failed = [gate.gate for gate in table if gate.status == "fail"]

Figures come from the evidence (docs/evidence.md). Without evidence every gate fails; a gate with nothing to judge does
not apply (n/a). A gate by class judges the classes that the models have labels for, and names the others (`unjudged`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.evaluation.label_match import listing
from pipeline.evidence.document import Document
from pipeline.params.register import Gates
from pipeline.promotion.case import Case
from pipeline.promotion.gate_table import Gate

_NAMED = 5  # reported pictures that the reason names


def judge(gates: Gates, case: Case) -> list[Gate]:
    """Return the table: one row a gate, in a fixed order."""
    if case.evidence is None:
        first = Gate("evidence", "fail", None, None, case.doubt)
        return [first, *(Gate(name, "fail", None, None, "there is no evidence") for name in NAMES[1:])]
    first = Gate("evidence", "pass", None, None, "whole, and of this very model")
    return [first, *(_judge_gate(name, check, gates, case) for name, check in _CHECKS.items())]


def _judge_gate(name: str, check: "Callable[[str, Any, Case], Gate]", gates: Gates, case: Case) -> Gate:
    key = "drop" if name.startswith("drop_") else name
    setting = getattr(gates, key)
    if setting is None or setting is False:
        return Gate(name, "n/a", None, None, f"not asked for: register.gates.{key} is off")
    return check(name, setting, case)


def _least(name: str, value: float | None, limit: float, reason: str) -> Gate:
    if value is None:
        return Gate(name, "n/a", None, limit, f"no pictures to judge it on ({reason})", "at least")
    return Gate(name, "pass" if value >= limit else "fail", value, limit, reason, "at least")


def _most(name: str, value: float | None, limit: float, reason: str) -> Gate:
    if value is None:
        return Gate(name, "fail", None, limit, f"not measured ({reason})", "at most")
    return Gate(name, "pass" if value <= limit else "fail", value, limit, reason, "at most")


def _evidence(case: Case) -> Document:
    if case.evidence is None:
        raise ValueError("judged without evidence")
    return case.evidence


def _class_recall(name: str, limit: float, case: Case) -> Gate:
    summary, match = _evidence(case).summary, _evidence(case).match
    if not match.same and not match.common:
        reason = f"its labels are {listing(match.labels)}: none is a class of the pictures ({listing(match.classes)})"
        return Gate(name, "n/a", None, limit, reason, "at least", reason)
    known = {label: value for label, value in summary.recall.items() if value is not None}
    if not known:
        return _least(name, None, limit, "the test set is empty")
    worst = min(known, key=lambda label: (known[label], label))
    pictures = sum(summary.confusion[(match.classes or list(summary.recall)).index(worst)])
    gate = _least(name, known[worst], limit, f"{worst} is the lowest, on {pictures} pictures")
    return _judged_in_part(gate, f"it has no label {listing(match.unknown)}" if match.unknown else "")


def _judged_in_part(gate: Gate, unjudged: str) -> Gate:
    """Return the gate with what it could not judge, which its reason tells, too."""
    return replace(gate, reason=f"{gate.reason}; {unjudged}", unjudged=unjudged) if unjudged else gate


def _unsafe_recall(name: str, limit: float, case: Case) -> Gate:
    evidence = _evidence(case)
    pictures = sum(evidence.test.by_label.get(label, 0) for label in evidence.match.unsafe_classes)
    return _least(name, evidence.summary.unsafe.recall, limit, f"on {pictures} unsafe pictures")


def _drop(name: str, tolerances: Any, case: Case) -> Gate:
    figure = name.removeprefix("drop_")
    limit: float = getattr(tolerances, figure)
    if case.production is None:
        return Gate(name, "n/a", None, limit, "nothing else is in production to compare with", "at most")
    if case.incomparable:
        return Gate(name, "fail", None, limit, case.incomparable, "at most")
    changes = {key: each for key, each in case.differences.items() if key.split("/")[0] == _FIGURES[figure]}
    unjudged = "" if figure == "unsafe_recall" else case.uncompared
    if not changes:
        return Gate(name, "n/a", None, limit, unjudged or "no such pictures in the test set", "at most", unjudged)
    # The figure that most likely fell by more than the limit; among equals the one that fell most, as the resamples
    # alone would order them by chance.
    worst = max(sorted(changes), key=lambda key: (changes[key].risk(limit), -changes[key].change))
    each = changes[worst]
    drop, risk = max(0.0, -each.change), each.risk(limit)
    what = worst.removeprefix("recall/") + ": " if "/" in worst else ""
    reason = (
        f"{what}{100 * each.before:.1f} -> {100 * each.after:.1f} % on {each.pictures} pictures of both; "
        f"{100 * risk:.0f} % of paired resamples fall by more (tolerated: {100 * tolerances.risk:g} %)"
    )
    gate = Gate(name, "fail" if risk > tolerances.risk else "pass", drop, limit, reason, "at most")
    return _judged_in_part(gate, unjudged)


def _slice_gap(name: str, limit: float, case: Case) -> Gate:
    slices = _evidence(case).slices
    gap = slices.gap
    if gap is None:
        reason = f"no two slices of a family have {slices.min_slice} unsafe pictures"
        return Gate(name, "n/a", None, limit, reason, "at most")
    return _most(name, gap.gap, limit, f"unsafe recall by {gap.family}: {gap.best} to {gap.worst}")


def _calibration(name: str, limit: float, case: Case) -> Gate:
    calibration = _evidence(case).calibration
    before = "not known" if calibration.ece_before is None else f"{calibration.ece_before:.4g}"
    reason = f"temperature {calibration.temperature:.3g}; without {before}"
    if not _evidence(case).match.same:
        reason = f"of the probability of unsafe; {reason}"
    return _most(name, calibration.ece_after, limit, reason)


def _robustness(name: str, limit: float, case: Case) -> Gate:
    robustness = _evidence(case).robustness
    worst = robustness.worst
    form, recall = ("none", None) if worst is None else (worst.distortion, worst.unsafe_recall)
    reason = f"unsafe recall of pictures as {form}, the worst, {robustness.pictures} test pictures"
    return _least(name, recall, limit, reason)


def _reports(name: str, _: Any, case: Case) -> Gate:
    if not case.reports:
        return Gate(name, "n/a", None, None, "data/reports.csv is empty")
    if case.wrong_reports:
        wrong = len(case.wrong_reports)
        more = f"; and {wrong - _NAMED} more (`nsfw reports check VERSION`)" if wrong > _NAMED else ""
        reason = f"of {case.reports}: {'; '.join(case.wrong_reports[:_NAMED])}{more}"
        gate = Gate(name, "fail", float(wrong), 0.0, reason, "at most")
    else:
        gate = Gate(name, "pass", 0.0, 0.0, f"all {case.reports} reported pictures are right", "at most")
    by_side = case.reports_by_side
    return _judged_in_part(gate, f"{by_side} only as unsafe or safe: it has no label of their class" if by_side else "")


def _latency(name: str, limit: float, case: Case) -> Gate:
    speed = case.facts.get("speed") or {}
    return _most(name, speed.get("p95_ms"), limit, f"ms a picture, 95th percentile, {speed.get('hardware', 'unknown')}")


def _size(name: str, limit: float, case: Case) -> Gate:
    return _most(name, case.facts.get("size_mb"), limit, "MB of the model file")


def _test_set(name: str, _: Any, case: Case) -> Gate:
    if case.production is None:
        return Gate(name, "n/a", None, None, "nothing else is in production to compare with")
    if case.test_sets is None:
        return Gate(
            name, "fail", None, None, f"production's test set is not known ({case.incomparable or 'no evidence'})"
        )
    if case.test_sets.same:
        return Gate(name, "pass", 0.0, None, "the same pictures and labels as production's")
    if case.test_change:
        return Gate(name, "pass", None, None, f"changed, and named: {case.test_change} ({case.test_sets})")
    return Gate(name, "fail", None, None, f"changed: {case.test_sets}. Name the change: --test-change 'what and why'")


def _leaks(name: str, limit: float, case: Case) -> Gate:
    leaks = _evidence(case).leaks
    if leaks.straddling:
        return Gate(name, "fail", float(leaks.straddling), 0.0, "clusters lie in train and in test", "at most")
    return _most(name, leaks.share, limit, f"{leaks.near} of {leaks.test_pictures} test pictures")


def _clean(name: str, _: Any, case: Case) -> Gate:
    dirty, commit = case.facts.get("git_dirty"), case.facts.get("git_commit")
    if case.facts.get("imported"):
        return Gate(name, "n/a", None, None, "imported: it was trained elsewhere")
    if commit is None:
        why = case.facts.get("git_problem") or "trained outside a git repository"
        return Gate(name, "fail", None, None, f"no commit is known, so nobody can rebuild it: {why}")
    if dirty is False:
        return Gate(name, "pass", None, None, f"trained from commit {commit[:12]}")
    if case.committed:
        return Gate(name, "pass", None, None, f"trained from changes that commit {case.committed[:12]} holds by now")
    return Gate(
        name,
        "fail",
        None,
        None,
        f"trained from uncommitted changes on {commit[:12]}: commit them, unchanged, and repeat",
    )


def _finished(name: str, _: Any, case: Case) -> Gate:
    status = case.facts.get("run_status")
    if case.facts.get("imported"):
        return Gate(name, "n/a", None, None, "imported: it was trained elsewhere")
    reason = f"run {case.facts.get('record_id')} is {status or 'not known'}"
    return Gate(name, "pass" if status == "FINISHED" else "fail", None, None, reason)


_FIGURES = {"unsafe_recall": "unsafe_recall", "macro_recall": "macro_recall", "class_recall": "recall"}
_CHECKS: dict[str, Callable[[str, Any, Case], Gate]] = {
    "class_recall": _class_recall,
    "unsafe_recall": _unsafe_recall,
    "drop_unsafe_recall": _drop,
    "drop_macro_recall": _drop,
    "drop_class_recall": _drop,
    "slice_gap": _slice_gap,
    "calibration": _calibration,
    "robustness": _robustness,
    "reports": _reports,
    "latency_ms": _latency,
    "size_mb": _size,
    "test_set": _test_set,
    "leaks": _leaks,
    "clean": _clean,
    "finished": _finished,
}
NAMES = ("evidence", *_CHECKS)
