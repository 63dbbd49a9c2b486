"""The regression cases: what a version says of each reported picture, and a case's history over the versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files
from pipeline.data.annotation_files import REGRESSION
from pipeline.evaluation import reviewed
from pipeline.evaluation.label_match import LabelMatch
from pipeline.promotion import agreement, judging
from pipeline.registry import evidence_store, state
from pipeline.registry.evidence_store import Evidence, EvidenceError
from pipeline.tracking import server

if TYPE_CHECKING:
    from pipeline.params.root import Params

UNKNOWN = "unknown"  # the outcome of a version without evidence
_COLUMNS = ["ticket", "slice", "sha256", "expected_label", "answer", "outcome"]


@dataclass(frozen=True)
class Checked:
    """What a version says of the cases: rows of _COLUMNS, and how many were put to the model just now."""

    model: str
    version: int
    rows: Sequence[dict[str, Any]]
    put_now: int

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows that are not right: wrong, or without an answer."""
        return [row for row in self.rows if row["outcome"] != reviewed.RIGHT]

    def to_document(self) -> dict[str, Any]:
        """Return the result for JSON."""
        counts = {name: sum(row["outcome"] == name for row in self.rows) for name in ("right", "wrong", "missing")}
        of = {"model": self.model, "version": self.version, "put_to_the_model_now": self.put_now}
        return {**of, "cases": len(self.rows), **counts, "failed": self.failed}

    def lines(self) -> list[str]:
        """Return the result for a terminal."""
        if not self.rows:
            return [f"{paths.REPORTS} holds no case: `nsfw reports list` shows what waits for a decision"]
        right = len(self.rows) - len(self.failed)
        head = f"version {self.version} of {self.model}: {right} of {len(self.rows)} reported pictures are right"
        now = [f"  {self.put_now} of them were put to the model now; its evidence does not know them"]
        text = [head, *now * bool(self.put_now), *(f"  {judging.describe_case(row)}" for row in self.failed)]
        return [*text, "next: nsfw reports show TICKET tells since when"] if self.failed else text


def check(params: Params, requested: str) -> Checked:
    """Put every case to a version: its evidence's answers, and the model itself for pictures that came later.

    Raises:
        UserError: there is no such version, it has no evidence, or data/reports.csv is wrong.
        Unreachable: the server does not answer.

    """
    reports = load(params)
    with server.session() as client:
        agreement.check(client, params.register_, requested)
        now = state.read(client, params.register_)
        version = state.resolve(now, requested, params.register_)
        try:
            evidence = evidence_store.fetch(client, now.model, version)
        except EvidenceError as doubt:
            raise UserError(f"{doubt}.") from None
    rows = _outcomes(evidence, reports, params)
    later = rows[rows["outcome"] == reviewed.MISSING]
    answers = _ask(evidence, later, params) if len(later) else evidence.predictions.head(0)
    if len(answers):
        rows = _outcomes(evidence, reports, params, answers)
    records = [{str(name): value for name, value in row.items()} for _, row in rows[_COLUMNS].iterrows()]
    return Checked(now.model, version, records, len(answers))


def load(params: Params) -> pd.DataFrame:
    """Return the rows of data/reports.csv; none where there is no such file."""
    if not Path(paths.REPORTS).is_file():
        return pd.DataFrame(columns=[*annotation_files.REPORTS, "line"], dtype="str")
    return annotation_files.reports(paths.REPORTS, params.labels.names)


def _outcomes(
    evidence: Evidence, reports: pd.DataFrame, params: Params, further: pd.DataFrame | None = None
) -> pd.DataFrame:
    document = evidence.document
    match = LabelMatch(document.labels, document.unsafe, params.labels.names, params.labels.unsafe)
    predictions = evidence.predictions if further is None else pd.concat([evidence.predictions, further])
    return reviewed.cases(reports, predictions, match)


def _ask(evidence: Evidence, later: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return a registered model's predictions of pictures that are in the catalog here; none if it cannot be loaded."""
    nothing = evidence.predictions.head(0)
    if not paths.CATALOG.is_file():
        return nothing
    known = set(tables.read_parquet(paths.CATALOG, ["sha256"])["sha256"])
    pictures = later[later["sha256"].isin(known)].drop_duplicates("sha256")
    if pictures.empty:
        return nothing
    from pipeline.evidence import scoring
    from pipeline.promotion import rescoring

    try:
        network, spec, resize = rescoring.registered_network(evidence, params)
    except UserError:  # its files are gone: those pictures stay without an answer
        return nothing
    rows = pictures[["sha256", "expected_label"]].rename(columns={"expected_label": "label"}).assign(split=REGRESSION)
    return scoring.predictions_of(network, int(spec["size"]), rows, params, spec["labels"], resize)


def history(params: Params, ticket: str) -> list[dict[str, Any]]:
    """Return the cases of a ticket, each with `versions`: version, outcome and answer, from each one's evidence.

    [] if no case has that ticket.

    Raises:
        UserError: data/reports.csv is wrong, or nothing is registered.
        Unreachable: the server does not answer.

    """
    reports = load(params)
    chosen = reports[reports["ticket"] == ticket]
    if chosen.empty:
        return []
    cases = [{str(name): value for name, value in row.items()} | {"versions": []} for _, row in chosen.iterrows()]
    with server.session() as client:
        now = state.read(client, params.register_)
        for version in now.versions:
            evidence = judging.fetch_evidence(client, now.model, version)
            known = _outcomes(evidence, chosen, params) if isinstance(evidence, Evidence) else None
            for number, case in enumerate(cases):
                outcome = UNKNOWN if known is None else known.iloc[number]["outcome"]
                answer = "" if outcome in {UNKNOWN, reviewed.MISSING} else known.iloc[number]["answer"]  # type: ignore[union-attr]
                case["versions"].append({"version": version, "outcome": outcome, "answer": answer})
    return cases


def sentence(versions: Sequence[dict[str, Any]]) -> str:
    """Return a case's history in words: `wrong in 4, right since 6`."""
    answered = [row for row in versions if row["outcome"] in {reviewed.RIGHT, reviewed.WRONG}]
    parts = []
    runs = [(outcome, [row["version"] for row in rows]) for outcome, rows in groupby(answered, lambda r: r["outcome"])]
    for number, (outcome, numbers) in enumerate(runs):
        if number == len(runs) - 1:
            parts.append(f"{outcome} since {numbers[0]}")
        elif len(numbers) > 1:
            parts.append(f"{outcome} in {numbers[0]} to {numbers[-1]}")
        else:
            parts.append(f"{outcome} in {numbers[0]}")
    if not answered:
        return "no registered version has answered it yet: `dvc repro`, or `nsfw reports check VERSION`"
    return ", ".join(parts)


def describe_history(case: dict[str, Any]) -> list[str]:
    """Return a case with its history as lines."""
    named = f", slice {case['slice']}" if case["slice"] else ""
    text = [
        f"ticket {case['ticket']}{named}: {case['sha256']} is {case['expected_label']}, reported {case['reported_at']}",
        f"  {sentence(case['versions'])}",
    ]
    for row in case["versions"]:
        answer = f", it says {row['answer']}" if row["answer"] else ""
        text.append(f"  version {row['version']}: {row['outcome']}{answer}")
    return [*text, f"  nsfw show {case['sha256'][:12]} tells everything about the picture"]
