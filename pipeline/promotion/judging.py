"""Apply the gates: a version's evidence against the evidence of the current production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.core import paths
from pipeline.data import annotation_files
from pipeline.evaluation import reviewed
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evaluation.paired_comparison import Difference
from pipeline.promotion import gates
from pipeline.promotion.case import Case, TestSetChange
from pipeline.promotion.gate_table import Gate
from pipeline.promotion.pairing import IncomparableError, Rescore, pair_answers
from pipeline.registry import evidence_store
from pipeline.registry.evidence_store import Evidence, EvidenceError, EvidenceUnavailableError
from pipeline.tracking import git_trees

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.labels import Labels
    from pipeline.params.root import Params


def fetch_evidence(client: MlflowClient, model: str, version: int | None) -> Evidence | EvidenceError | None:
    """Return a version's evidence, or the error that says why it cannot be used; None for no version."""
    if version is None:
        return None
    try:
        return evidence_store.fetch(client, model, version)
    except EvidenceError as doubt:
        return doubt


def gate_table(
    challenger: Evidence | EvidenceError | None,
    production: Evidence | EvidenceError | None,
    params: Params,
    *,
    production_version: int | None,
    test_change: str = "",
    rescore: Rescore | None = None,
) -> list[Gate]:
    """Return the gate table of a challenger against production, both with their evidence.

    If the challenger's cannot be fetched, no gate can be judged: the table is one failed row with the cause.
    """
    if isinstance(challenger, EvidenceUnavailableError):
        return [Gate("evidence", "fail", None, None, str(challenger))]
    if not isinstance(challenger, Evidence):
        case = Case(None, {}, doubt=str(challenger or "no evidence"), production=production_version)
        return gates.judge(params.register_.gates, case)
    known, wrong, by_side = _reports(challenger, params.labels)
    changes, incomparable, uncompared = _differences(challenger, production, params, rescore)
    case = Case(
        challenger.document,
        challenger.facts,
        production=production_version,
        differences=changes,
        incomparable=incomparable,
        uncompared=uncompared,
        test_sets=_test_set_change(challenger, production),
        test_change=test_change,
        wrong_reports=wrong,
        reports=known,
        reports_by_side=by_side,
        committed=_committed(challenger),
    )
    return gates.judge(params.register_.gates, case)


def unavailable_evidence(
    challenger: Evidence | EvidenceError | None, production: Evidence | EvidenceError | None
) -> str:
    """Return which evidence cannot be fetched, and why; "" if none is missing. The challenger is not to blame."""
    if isinstance(challenger, EvidenceUnavailableError):
        return str(challenger)
    return f"production, {production}" if isinstance(production, EvidenceUnavailableError) else ""


def _differences(
    challenger: Evidence, production: Evidence | EvidenceError | None, params: Params, rescore: Rescore | None
) -> tuple[dict[str, Difference], str, str]:
    """Return the differences, why there are none, and which classes are not compared."""
    if production is None:
        return {}, "", ""
    if isinstance(production, EvidenceUnavailableError):  # `unavailable_evidence` shows the cause
        return {}, "production's own evidence cannot be fetched", ""
    if isinstance(production, EvidenceError):
        return {}, f"production's own evidence: {production}", ""
    try:
        both = pair_answers(production, challenger, rescore)
    except IncomparableError as error:
        return {}, str(error), ""
    return both.differences(params), "", both.uncompared


def _test_set_change(challenger: Evidence, production: Evidence | EvidenceError | None) -> TestSetChange | None:
    if not isinstance(production, Evidence):
        return None
    after, before = _labels(challenger), _labels(production)
    shared = after.index.intersection(before.index)
    relabelled = int((after.loc[shared] != before.loc[shared]).sum())
    return TestSetChange(len(after) - len(shared), len(before) - len(shared), relabelled)


def _labels(evidence: Evidence) -> pd.Series:
    test = evidence.predictions[evidence.predictions["split"] == "test"]
    return test.drop_duplicates("sha256").set_index("sha256")["label"]


def _reports(challenger: Evidence, labels: Labels) -> tuple[int, Sequence[str], int]:
    """Return the number of public reports, a line for each that the challenger gets wrong or never saw, and a number.

    That is how many are of classes that it has no label for, so that only unsafe or safe is judged.
    """
    if not Path(paths.REPORTS).is_file():
        recorded = challenger.document.reports
        rows = [
            describe_case(row.to_json() | {"answer": row.answer, "slice": row.slice, "outcome": reviewed.WRONG})
            for row in recorded.wrong
        ]
        return recorded.cases, rows + ["a report without a picture"] * recorded.missing, 0
    match = LabelMatch(challenger.document.labels, challenger.document.unsafe, labels.names, labels.unsafe)
    reports = annotation_files.reports(paths.REPORTS, labels.names)
    judged = reviewed.cases(reports, challenger.predictions, match)
    wrong = [describe_case(dict(row)) for _, row in judged.iterrows() if row["outcome"] != reviewed.RIGHT]
    return len(reports), wrong, int(reports["expected_label"].isin(match.unknown).sum())


def describe_case(row: Mapping[str, Any]) -> str:
    """Return what is wrong with a reported picture, a row of `reviewed.cases`: ticket, slice, sha256, labels."""
    named = [row["ticket"] or "no ticket", *([f"slice {row['slice']}"] if row["slice"] else [])]
    answer = (
        "came after its evaluation, or has no usable picture: `dvc repro`"
        if row["outcome"] == reviewed.MISSING
        else f"is {row['expected_label']}, it says {row['answer']}"
    )
    return f"{', '.join(named)}: {row['sha256'][:12]} {answer}"


def _committed(challenger: Evidence) -> str | None:
    tree = challenger.facts.get("git_tree")
    if challenger.facts.get("git_dirty") is not True or not tree or challenger.facts.get("untracked"):
        return None
    return git_trees.commit_with(tree)
