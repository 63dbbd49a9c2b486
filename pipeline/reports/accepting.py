"""Accept reports: each becomes a row of data/reports.csv, a regression case, and its picture part of data/.

    accepted = accepting.accept(params, ["3fa9c1"], Naming(slice="night", ticket="T-812"))

Killed at any moment and run again, it ends in the same state: picture first, then the row, then the inbox.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.spreadsheet_cells import FORMULA
from pipeline.data import annotation_files, annotation_rows, batch_names, batch_writer, folder, project, sightings
from pipeline.params.root import Params
from pipeline.reports import inbox, screening, triage
from pipeline.reports.inbox import Report

_MOST_CHARACTERS = 80


@dataclass(frozen=True)
class Naming:
    """What a person says of the reports: the slice, the ticket ("": the report's id) and the label ("": its own).

    Raises:
        UserError: slice or ticket is too long, over several lines, or would be a formula in a spreadsheet.

    """

    slice: str = ""
    ticket: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        """Check slice and ticket."""
        for name, value in (("slice", self.slice), ("ticket", self.ticket)):
            if len(value) > _MOST_CHARACTERS or not value.isprintable() or value.startswith(FORMULA):
                most = f"up to {_MOST_CHARACTERS} printable characters"
                raise UserError(f"--{name}: {most}, none of = + - @ as the first")


@dataclass(frozen=True)
class Case:
    """A report as a case: the picture's sha256 in data/, its bytes if they are new there, and its label and ticket."""

    report: Report
    sha256: str
    label: str
    ticket: str
    content: bytes | None
    new: bool


def accept(params: Params, identities: Sequence[str], naming: Naming, by: str = "") -> list[Case]:
    """Make open reports regression cases, and version data/ anew.

    Raises:
        UserError: there is no such report, or it is decided; its picture is not here (only its hash came), was taken
            down, is matched by a screen, or is a case with another label; or its class would have more cases than
            reports.max_share allows.
            Nothing is written then.

    """
    source = f"{batch_names.REPORTS}{datetime.now(UTC).date().isoformat()}"
    with project.ingest_lock():
        project.prepare_for_batch(source, fresh=False, keep_sample=True)
        folder.prepare(paths.DATA)
        with inbox.connect() as database:
            reports = triage.open_reports(database, identities)
        seen = sightings.load(paths.SIGHTINGS)
        known = annotation_files.reports(paths.REPORTS, params.labels.names)
        cases = _distinct([_case(report, naming, seen, known, params) for report in reports])
        _check_share([case for case in cases if case.new], seen, known, params.reports.max_share)
        screening.check(params, [(case.report, case.content) for case in cases if case.content is not None])
        _store(cases, seen, source)
        rows = [_row(case, naming.slice) for case in cases if case.new]
        if rows:
            annotation_rows.append(paths.REPORTS, rows)
        project.add_data()
        _close(cases, naming.slice, by)
    return cases


def _case(report: Report, naming: Naming, seen: pd.DataFrame, known: pd.DataFrame, params: Params) -> Case:
    label, ticket = naming.label or report.expected_label, naming.ticket or report.id
    if label not in params.labels.names:
        raise UserError(f"report {report.id}: {label!r} is none of {', '.join(params.labels.names)}; say --label NAME")
    sha256, content = _picture(report, seen)
    earlier = known[known["sha256"] == sha256]
    if len(earlier):
        expected, other = earlier.iloc[0]["expected_label"], earlier.iloc[0]["ticket"]
        if expected != label:
            raise UserError(
                f"report {report.id}: its picture is a case already (ticket {other}), as {expected}, not {label}"
            )
        return Case(report, sha256, label, other, content, new=False)
    return Case(report, sha256, label, ticket, content, new=True)


def _picture(report: Report, seen: pd.DataFrame) -> tuple[str, bytes | None]:
    """Return the sha256 of a report's picture in data/, and its bytes if they are new there."""
    status = seen[seen["sha256"].isin([report.sha256, report.picture_sha256])].set_index("sha256")["status"]
    if status.isin(sightings.GONE).any():
        raise UserError(f"report {report.id}: its picture was taken down for good, and is never stored again")
    stored = set(status.index[status == "stored"])
    if report.sha256 in stored:
        return report.sha256, None
    if report.picture_sha256 in stored:
        return report.picture_sha256, None
    path = inbox.PICTURES / report.picture
    if not report.picture or not path.is_file():
        raise UserError(
            f"report {report.id}: only its hash came, and data/ has no such picture ({report.sha256[:12]}). It cannot "
            "be asked, so it cannot be a case: `nsfw reports reject`, or ingest the picture first."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != report.picture_sha256:
        raise UserError(f"report {report.id}: {path} has been changed since it came")
    return report.picture_sha256, content


def _distinct(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with one new row for each picture; raise UserError where two of one picture differ in label."""
    first: dict[str, Case] = {}
    distinct = []
    for case in cases:
        before = first.setdefault(case.sha256, case)
        if before.label != case.label:
            raise UserError(
                f"reports {before.report.id} and {case.report.id} are of one picture, as {before.label} and as "
                f"{case.label}: say --label NAME"
            )
        again = before is not case
        distinct.append(Case(case.report, case.sha256, case.label, before.ticket, None, new=False) if again else case)
    return distinct


def _check_share(new: Sequence[Case], seen: pd.DataFrame, known: pd.DataFrame, most: float) -> None:
    stored = seen[seen["status"] == "stored"].drop_duplicates(["sha256", "label"])["label"].value_counts()
    before = known.drop_duplicates("sha256")["expected_label"].value_counts()
    for label, added in Counter(case.label for case in new).items():
        total, pictures = int(before.get(label, 0)) + added, int(stored.get(label, 0))
        if total > most * pictures:
            raise UserError(
                f"{label} would have {total} accepted reports for {pictures} pictures in data/, which is more than "
                f"reports.max_share allows ({100 * most:g} %, {int(most * pictures)}). Ingest more pictures of "
                f"{label}, or raise it in params.yaml."
            )


def _store(cases: Sequence[Case], seen: pd.DataFrame, source: str) -> None:
    new = [case for case in cases if case.content is not None]
    if not new:
        return
    writer = batch_writer.Writer(paths.DATA, known=set(seen.loc[seen["status"] == "stored", "sha256"]))
    rows: list[dict[str, object]] = []
    for case in new:
        content = case.content or b""
        writer.add(case.sha256, ".png", content)
        rows.append(
            {
                "sha256": case.sha256,
                "label": case.label,
                "origin": f"report/{case.report.id}.png",
                "source": source,
                "fetched_at": datetime.fromisoformat(case.report.created_at),
                "bytes": len(content),
                "status": "stored",
                "reason": "",
            }
        )
    writer.commit(batch_names.next_number(paths.SIGHTINGS), source, sightings.frame(rows))


def _row(case: Case, slice_name: str) -> dict[str, str]:
    reported_at = case.report.created_at.partition("T")[0]
    names = annotation_files.REPORTS
    return dict(zip(names, (case.sha256, case.label, slice_name, case.ticket, reported_at), strict=True))


def _close(cases: Sequence[Case], slice_name: str, by: str) -> None:
    with inbox.connect() as database:
        for case in cases:
            about = {"case_sha256": case.sha256, "ticket": case.ticket, "slice": slice_name}
            triage.close(database, case.report, inbox.ACCEPTED, by, picture="", picture_sha256="", **about)
    for case in cases:
        inbox.delete_picture(case.report)
