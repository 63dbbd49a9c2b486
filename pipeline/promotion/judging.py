"""Apply the gates: a version's evidence against the evidence of the current production."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.core import paths
from pipeline.data import annotation_files
from pipeline.evaluation.paired_comparison import Difference, differences
from pipeline.promotion import gates
from pipeline.promotion.case import Case, TestSetChange
from pipeline.promotion.gate_table import Gate
from pipeline.registry import evidence_store
from pipeline.registry.evidence_store import Evidence, EvidenceError, EvidenceUnavailableError
from pipeline.tracking import git_trees

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.root import Params

Rescore = Callable[[Evidence, Evidence], pd.DataFrame | None]  # production, challenger -> production's answers
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairedAnswers:
    """Two models' answers on the same test pictures: `sha256, label, before_<class>..., after_<class>...`."""

    frame: pd.DataFrame
    names: tuple[str, ...]

    def arrays(self) -> tuple[Any, Any, Any]:
        """Return (before (n, classes), after (n, classes), labels (n,))."""
        before = self.frame[[f"before_{name}" for name in self.names]].to_numpy()
        after = self.frame[[f"after_{name}" for name in self.names]].to_numpy()
        return before, after, self.frame["label"].map(self.names.index).to_numpy()


class IncomparableError(Exception):
    """Two versions have no predictions on the same pictures; the message says why."""


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
    known, wrong = _reports(challenger, params.labels.names)
    changes, incomparable = _differences(challenger, production, params, rescore)
    case = Case(
        challenger.document,
        challenger.facts,
        production=production_version,
        differences=changes,
        incomparable=incomparable,
        test_sets=_test_set_change(challenger, production),
        test_change=test_change,
        wrong_reports=wrong,
        reports=known,
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


def pair_answers(before: Evidence, after: Evidence, rescore: Rescore | None = None) -> PairedAnswers:
    """Return both models' answers on every test picture of `after`.

    `rescore` predicts pictures that `before` was never shown.

    Raises:
        IncomparableError: the classes differ, or pictures that `before` was never shown cannot be predicted here.

    """
    names = after.document.labels
    if set(names) != set(before.document.labels):
        raise IncomparableError(
            f"version {before.version} knows other classes ({', '.join(before.document.labels)}): nothing to compare"
        )
    columns = [f"p_{name}" for name in names]
    test = after.predictions[after.predictions["split"] == "test"]
    answers = before.predictions.drop_duplicates("sha256").set_index("sha256")[columns]
    missing = int((~test["sha256"].isin(answers.index)).sum())
    if missing:
        fresh = rescore(before, after) if rescore else None
        if fresh is None:
            raise IncomparableError(
                f"version {before.version} was never shown {missing} of {len(test)} test pictures, and they are not "
                f"here to show them: check out the data of version {after.version} (`nsfw trace {after.version}`)"
            )
        answers = fresh.drop_duplicates("sha256").set_index("sha256")[columns]
    joined = pd.concat(
        [
            test[["sha256", "label"]].reset_index(drop=True),
            answers.loc[test["sha256"]].add_prefix("before_").reset_index(drop=True),
            test[columns].add_prefix("after_").reset_index(drop=True),
        ],
        axis=1,
    )
    return PairedAnswers(joined.rename(columns=lambda name: name.replace("_p_", "_")), names)


def _differences(
    challenger: Evidence, production: Evidence | EvidenceError | None, params: Params, rescore: Rescore | None
) -> tuple[dict[str, Difference], str]:
    if production is None:
        return {}, ""
    if isinstance(production, EvidenceUnavailableError):  # `unavailable_evidence` shows the cause
        return {}, "production's own evidence cannot be fetched"
    if isinstance(production, EvidenceError):
        return {}, f"production's own evidence: {production}"
    try:
        both = pair_answers(production, challenger, rescore)
    except IncomparableError as error:
        return {}, str(error)
    changes = differences(
        *both.arrays(),
        both.names,
        challenger.document.unsafe,
        resamples=params.evaluate.resamples,
        seed=params.seed,
    )
    return changes, ""


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


def _reports(challenger: Evidence, labels: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Return the number of public reports, and a line for each that the challenger gets wrong or never saw."""
    if not Path(paths.REPORTS).is_file():
        reviewed = challenger.document.reports
        rows = [f"{row.sha256[:12]} is {row.expected_label}, not {row.answer}" for row in reviewed.wrong]
        return reviewed.cases, rows + ["a report without a picture"] * reviewed.missing
    reports = annotation_files.reports(paths.REPORTS, labels)
    names = challenger.document.labels
    answers = challenger.predictions.drop_duplicates("sha256").set_index("sha256")[[f"p_{name}" for name in names]]
    wrong = []
    for sha256, expected in zip(reports["sha256"], reports["expected_label"], strict=True):
        if sha256 not in answers.index:
            wrong.append(f"{sha256[:12]} came after its evaluation, or has no picture: `dvc repro`")
        elif (predicted := names[int(answers.loc[sha256].to_numpy().argmax())]) != expected:
            wrong.append(f"{sha256[:12]} is {expected}, it says {predicted}")
    return len(reports), wrong


def _committed(challenger: Evidence) -> str | None:
    tree = challenger.facts.get("git_tree")
    if challenger.facts.get("git_dirty") is not True or not tree or challenger.facts.get("untracked"):
        return None
    return git_trees.commit_with(tree)
