"""The gates: what a version must satisfy before it may be production, each with its number and its reason.

    table = gates.judge(params.register_.gates, case)
    failed = [gate.gate for gate in table if gate.status == "fail"]

Figures come from the evidence (docs/evidence.md). What has no evidence fails; what has nothing to judge does not apply.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.evaluation.paired_comparison import Difference
from pipeline.params.register import Gates

Status = Literal["pass", "fail", "n/a"]
STATUSES: tuple[Status, ...] = ("fail", "pass", "n/a")  # in the order in which people read them
Test = Literal["at least", "at most", ""]


@dataclass(frozen=True)
class Gate:
    """One row of the table. `value` and `limit` are None where the gate has no number."""

    gate: str
    status: Status
    value: float | None
    limit: float | None
    reason: str
    test: Test = ""

    def to_document(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TestSets:
    """How the challenger's test set differs from production's: pictures by what became of them."""

    added: int
    removed: int
    relabelled: int

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not (self.added or self.removed or self.relabelled)

    def __str__(self) -> str:
        return f"{self.added} pictures more, {self.removed} fewer, {self.relabelled} relabelled"


@dataclass(frozen=True)
class Case:
    """What the gates judge.

    Attributes:
        evidence: the challenger's evidence.json; None if there is none that can be trusted (`doubt` says why).
        facts: the challenger's facts.json: run, lineage, speed, size.
        production: the version in production, None if there is none yet.
        differences: of recall, from production to challenger, on the same pictures (`evaluation.paired`).
        incomparable: why there are no differences, where there is a production.
        test_sets: how the test sets differ; None without production's evidence.
        test_change: how the promoter names that difference.
        wrong_reports: of data/reports.csv as it is now, what the challenger says wrongly, or what it never saw.
        reports: their number.
        committed: the commit that holds what a dirty run was trained from, None if no commit does.

    """

    evidence: Mapping[str, Any] | None
    facts: Mapping[str, Any]
    doubt: str = ""
    production: int | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    incomparable: str = ""
    test_sets: TestSets | None = None
    test_change: str = ""
    wrong_reports: Sequence[str] = ()
    reports: int = 0
    committed: str | None = None


def judge(gates: Gates, case: Case) -> list[Gate]:
    """Return the table: one row a gate, in a fixed order."""
    if case.evidence is None:
        first = Gate("evidence", "fail", None, None, case.doubt)
        return [first, *(Gate(name, "fail", None, None, "there is no evidence") for name in NAMES[1:])]
    first = Gate("evidence", "pass", None, None, "whole, and of this very model")
    return [first, *(_one(name, check, gates, case) for name, check in _CHECKS.items())]


def failed(table: Sequence[Gate]) -> list[str]:
    """Return the names of the gates that failed."""
    return [gate.gate for gate in table if gate.status == "fail"]


def rows(table: Sequence[Gate]) -> list[str]:
    """Return the table as aligned lines for a terminal."""
    cells = [(gate.gate, gate.status, _shown(gate), gate.reason) for gate in table]
    widths = [max(len(row[place]) for row in cells) for place in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in cells
    ]


def _one(name: str, check: "Callable[[str, Any, Case], Gate]", gates: Gates, case: Case) -> Gate:
    key = "drop" if name.startswith("drop_") else name
    asked = getattr(gates, key)
    if asked is None or asked is False:
        return Gate(name, "n/a", None, None, f"not asked for: register.gates.{key} is off")
    return check(name, asked, case)


def _shown(gate: Gate) -> str:
    if gate.value is None:
        return ""
    sign = {"at least": ">=", "at most": "<=", "": ""}[gate.test]
    return f"{gate.value:.4g}" if gate.limit is None else f"{gate.value:.4g} (wanted {sign} {gate.limit:.4g})"


def _least(name: str, value: float | None, limit: float, reason: str) -> Gate:
    if value is None:
        return Gate(name, "n/a", None, limit, f"no pictures to judge it on ({reason})", "at least")
    return Gate(name, "pass" if value >= limit else "fail", value, limit, reason, "at least")


def _most(name: str, value: float | None, limit: float, reason: str) -> Gate:
    if value is None:
        return Gate(name, "fail", None, limit, f"not measured ({reason})", "at most")
    return Gate(name, "pass" if value <= limit else "fail", value, limit, reason, "at most")


def _evidence(case: Case) -> Mapping[str, Any]:
    if case.evidence is None:
        raise ValueError("judged without evidence")
    return case.evidence


def _class_recall(name: str, limit: float, case: Case) -> Gate:
    summary = _evidence(case)["summary"]
    known = {label: value for label, value in summary["recall"].items() if value is not None}
    if not known:
        return _least(name, None, limit, "the test set is empty")
    worst = min(known, key=lambda label: (known[label], label))
    pictures = sum(summary["confusion"][list(summary["recall"]).index(worst)])
    return _least(name, known[worst], limit, f"{worst} is the lowest, on {pictures} pictures")


def _unsafe_recall(name: str, limit: float, case: Case) -> Gate:
    evidence = _evidence(case)
    pictures = sum(evidence["test"]["by_label"].get(label, 0) for label in evidence["unsafe"])
    return _least(name, evidence["summary"]["unsafe"]["recall"], limit, f"on {pictures} unsafe pictures")


def _drop(name: str, asked: Any, case: Case) -> Gate:
    figure = name.removeprefix("drop_")
    limit: float = getattr(asked, figure)
    if case.production is None:
        return Gate(name, "n/a", None, limit, "nothing else is in production to compare with", "at most")
    if case.incomparable:
        return Gate(name, "fail", None, limit, case.incomparable, "at most")
    found = {key: each for key, each in case.differences.items() if key.split("/")[0] == _FIGURES[figure]}
    if not found:
        return Gate(name, "n/a", None, limit, "no such pictures in the test set", "at most")
    # The likeliest to have fallen too far, and of these the one that fell most: an order of the draws alone is noise.
    worst = max(sorted(found), key=lambda key: (found[key].risk(limit), -found[key].change))
    each = found[worst]
    drop, risk = max(0.0, -each.change), each.risk(limit)
    what = worst.removeprefix("recall/") + ": " if "/" in worst else ""
    reason = (
        f"{what}{100 * each.before:.1f} -> {100 * each.after:.1f} % on {each.pictures} pictures of both; "
        f"{100 * risk:.0f} % of paired resamples fall by more (tolerated: {100 * asked.risk:g} %)"
    )
    return Gate(name, "fail" if risk > asked.risk else "pass", drop, limit, reason, "at most")


def _slice_gap(name: str, limit: float, case: Case) -> Gate:
    gap = _evidence(case)["slices"]["gap"]
    if gap is None:
        least = _evidence(case)["slices"]["min_slice"]
        return Gate(name, "n/a", None, limit, f"no two slices of a family have {least} unsafe pictures", "at most")
    return _most(name, gap["gap"], limit, f"unsafe recall by {gap['family']}: {gap['best']} to {gap['worst']}")


def _calibration(name: str, limit: float, case: Case) -> Gate:
    found = _evidence(case)["calibration"]
    return _most(name, found["ece_after"], limit, f"temperature {found['temperature']:.3g}; without {_four(found)}")


def _four(found: Mapping[str, Any]) -> str:
    return "not known" if found["ece_before"] is None else f"{found['ece_before']:.4g}"


def _robustness(name: str, limit: float, case: Case) -> Gate:
    worst = _evidence(case)["robustness"]["worst"] or {"distortion": "none", "unsafe_recall": None}
    pictures = _evidence(case)["robustness"]["pictures"]
    reason = f"unsafe recall of pictures as {worst['distortion']}, the worst, {pictures} test pictures"
    return _least(name, worst["unsafe_recall"], limit, reason)


def _reports(name: str, _: Any, case: Case) -> Gate:
    if not case.reports:
        return Gate(name, "n/a", None, None, "data/reports.csv is empty")
    if case.wrong_reports:
        shown = "; ".join(case.wrong_reports[:3]) + ("; ..." if len(case.wrong_reports) > 3 else "")
        return Gate(name, "fail", float(len(case.wrong_reports)), 0.0, f"of {case.reports}: {shown}", "at most")
    return Gate(name, "pass", 0.0, 0.0, f"all {case.reports} reported pictures are right", "at most")


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
    found = _evidence(case)["leaks"]
    if found["straddling"]:
        return Gate(name, "fail", float(found["straddling"]), 0.0, "clusters lie in train and in test", "at most")
    return _most(name, found["share"], limit, f"{found['near']} of {found['test_pictures']} test pictures")


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
    said = f"run {case.facts.get('record_id')} is {status or 'not known'}"
    return Gate(name, "pass" if status == "FINISHED" else "fail", None, None, said)


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
