"""The gates, applied afresh: a version's evidence against whatever is production now."""

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
from pipeline.promotion.gates import Case, Gate, TestSets
from pipeline.registry import evidence_store
from pipeline.registry.evidence_store import Dossier, DoubtfulError, UnfetchedError
from pipeline.tracking import git_trees

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.params.root import Params

Rescore = Callable[[Dossier, Dossier], pd.DataFrame | None]  # production, challenger -> production's answers
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sides:
    """Two models' answers on the same test pictures: `sha256, label, before_<class>..., after_<class>...`."""

    frame: pd.DataFrame
    names: tuple[str, ...]

    def arrays(self) -> tuple[Any, Any, Any]:
        """Return (before (n, classes), after (n, classes), labels (n,))."""
        before = self.frame[[f"before_{name}" for name in self.names]].to_numpy()
        after = self.frame[[f"after_{name}" for name in self.names]].to_numpy()
        return before, after, self.frame["label"].map(self.names.index).to_numpy()


class IncomparableError(Exception):
    """Two versions have not answered on the same pictures; the message says why."""


def dossier(client: MlflowClient, model: str, version: int | None) -> Dossier | DoubtfulError | None:
    """Return a version's evidence, or why there is none to trust; None for no version."""
    if version is None:
        return None
    try:
        return evidence_store.fetch(client, model, version)
    except DoubtfulError as doubt:
        return doubt


def table(
    challenger: Dossier | DoubtfulError | None,
    production: Dossier | DoubtfulError | None,
    params: Params,
    *,
    production_version: int | None,
    test_change: str = "",
    rescore: Rescore | None = None,
) -> list[Gate]:
    """Return the gate table of a challenger against production, both with their evidence.

    Where the challenger's cannot be fetched, nothing is known of any gate: that is one failure, with its cause.
    """
    if isinstance(challenger, UnfetchedError):
        return [Gate("evidence", "fail", None, None, str(challenger))]
    if not isinstance(challenger, Dossier):
        case = Case(None, {}, doubt=str(challenger or "no evidence"), production=production_version)
        return gates.judge(params.register_.gates, case)
    known, wrong = _reports(challenger, params.labels.names)
    found, incomparable = _differences(challenger, production, params, rescore)
    case = Case(
        challenger.document,
        challenger.facts,
        production=production_version,
        differences=found,
        incomparable=incomparable,
        test_sets=_test_sets(challenger, production),
        test_change=test_change,
        wrong_reports=wrong,
        reports=known,
        committed=_committed(challenger),
    )
    return gates.judge(params.register_.gates, case)


def unfetched(challenger: Dossier | DoubtfulError | None, production: Dossier | DoubtfulError | None) -> str:
    """Return which evidence cannot be fetched, and why; "" where none is missed. It is no fault of the challenger's."""
    if isinstance(challenger, UnfetchedError):
        return str(challenger)
    return f"production, {production}" if isinstance(production, UnfetchedError) else ""


def sides(before: Dossier, after: Dossier, rescore: Rescore | None = None) -> Sides:
    """Return both models' answers on every test picture of `after`.

    What `before` was never shown is asked of it now, if `rescore` can.

    Raises:
        IncomparableError: other classes, or pictures that `before` cannot be asked about here.

    """
    names = tuple(after.document["labels"])
    if set(names) != set(before.document["labels"]):
        raise IncomparableError(
            f"version {before.version} knows other classes ({', '.join(before.document['labels'])}): nothing to compare"
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
    return Sides(joined.rename(columns=lambda name: name.replace("_p_", "_")), names)


def _differences(
    challenger: Dossier, production: Dossier | DoubtfulError | None, params: Params, rescore: Rescore | None
) -> tuple[dict[str, Difference], str]:
    if production is None:
        return {}, ""
    if isinstance(production, UnfetchedError):  # whose cause is shown once, by `unfetched`
        return {}, "production's own evidence cannot be fetched"
    if isinstance(production, DoubtfulError):
        return {}, f"production's own evidence: {production}"
    try:
        both = sides(production, challenger, rescore)
    except IncomparableError as error:
        return {}, str(error)
    found = differences(
        *both.arrays(),
        both.names,
        challenger.document["unsafe"],
        resamples=params.evaluate.resamples,
        seed=params.seed,
    )
    return found, ""


def _test_sets(challenger: Dossier, production: Dossier | DoubtfulError | None) -> TestSets | None:
    if not isinstance(production, Dossier):
        return None
    after, before = _labels(challenger), _labels(production)
    shared = after.index.intersection(before.index)
    relabelled = int((after.loc[shared] != before.loc[shared]).sum())
    return TestSets(len(after) - len(shared), len(before) - len(shared), relabelled)


def _labels(dossier: Dossier) -> pd.Series:
    test = dossier.predictions[dossier.predictions["split"] == "test"]
    return test.drop_duplicates("sha256").set_index("sha256")["label"]


def _reports(challenger: Dossier, labels: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Return how many public reports there are now, and those that the challenger gets wrong, or never saw."""
    if not Path(paths.REPORTS).is_file():
        known = challenger.document["reports"]
        rows = [f"{row['sha256'][:12]} is {row['expected_label']}, not {row['said']}" for row in known["wrong"]]
        return int(known["cases"]), rows + ["a report without a picture"] * int(known["missing"])
    reports = annotation_files.reports(paths.REPORTS, labels)
    names = list(challenger.document["labels"])
    answers = challenger.predictions.drop_duplicates("sha256").set_index("sha256")[[f"p_{name}" for name in names]]
    wrong = []
    for sha256, expected in zip(reports["sha256"], reports["expected_label"], strict=True):
        if sha256 not in answers.index:
            wrong.append(f"{sha256[:12]} came after its evaluation, or has no picture: `dvc repro`")
        elif (said := names[int(answers.loc[sha256].to_numpy().argmax())]) != expected:
            wrong.append(f"{sha256[:12]} is {expected}, it says {said}")
    return len(reports), wrong


def _committed(challenger: Dossier) -> str | None:
    tree = challenger.facts.get("git_tree")
    if challenger.facts.get("git_dirty") is not True or not tree or challenger.facts.get("untracked"):
        return None
    return git_trees.commit_with(tree)
