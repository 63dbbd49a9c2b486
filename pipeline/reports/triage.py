"""What a person does with a report that does not become a case: reject it, escalate it, merge it into another one."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.users import user_name
from pipeline.params.root import Params
from pipeline.reports import inbox, same_pictures
from pipeline.reports.inbox import Report


def reject(identities: Sequence[str], note: str, by: str = "") -> list[Report]:
    """Reject open reports, and delete their pictures now; the rest of them is deleted by `retention.purge`.

    Raises:
        UserError: there is no such report, or it is decided already.

    """
    with inbox.connect() as database:
        chosen = open_reports(database, identities)
        for report in chosen:
            close(database, report, inbox.REJECTED, by, note=note, picture="", picture_sha256="")
    for report in chosen:
        inbox.delete_picture(report)
    return chosen


def escalate(identities: Sequence[str], note: str, by: str = "") -> list[Report]:
    """Put open reports before whoever handles what no reviewer should: they come first in every list.

    Raises:
        UserError: there is no such report, or it is decided already.

    """
    with inbox.connect() as database:
        chosen = open_reports(database, identities)
        for report in chosen:
            close(database, report, inbox.ESCALATED, by, note=note)
    return chosen


def merge(params: Params, identities: Sequence[str] = ()) -> list[tuple[Report, list[Report]]]:
    """Merge open reports of one picture into the first of them that has the picture, or the first.

    Args:
        params: dedupe says what a near copy is.
        identities: reports to merge into one; none: every group with the same right label.

    Returns: the report that stays, and those that were merged into it, for each group.

    Raises:
        UserError: there is no such report, it is decided already, or they are not about one picture.

    """
    with inbox.connect() as database:
        if identities:
            grouped = same_pictures.groups(open_reports(database, identities), params.dedupe)
            if len(grouped) != 1 or len(grouped[0]) < 2:
                raise UserError(
                    "these reports are not about one picture: neither the same bytes, nor near by their hashes"
                )
        else:
            waiting = inbox.reports(database, inbox.OPEN)
            labels = sorted({report.expected_label for report in waiting})
            alike = [[report for report in waiting if report.expected_label == label] for label in labels]
            grouped = [group for part in alike for group in same_pictures.groups(part, params.dedupe)]
        merged = [_merge(database, group) for group in grouped if len(group) > 1]
    for _, others in merged:
        for report in others:
            inbox.delete_picture(report)
    return merged


def _merge(database: sqlite3.Connection, group: Sequence[Report]) -> tuple[Report, list[Report]]:
    head = next((report for report in group if report.picture), group[0])
    others = [report for report in group if report.id != head.id]
    for report in others:
        close(database, report, inbox.MERGED, merged_into=head.id, picture="", picture_sha256="")
    inbox.change(database, head.id, count=sum(report.count for report in group))
    return head, others


def open_reports(database: sqlite3.Connection, identities: Sequence[str]) -> list[Report]:
    """Return open reports by their ids, or beginnings of them; each once.

    Raises:
        UserError: there is no such report, or it is decided already.

    """
    chosen = {report.id: report for report in (inbox.find(database, prefix) for prefix in identities)}
    for report in chosen.values():
        if report.state not in inbox.OPEN:
            into = f" into {report.merged_into}" if report.merged_into else ""
            raise UserError(f"report {report.id} is {report.state}{into} already, by {report.closed_by}")
    return list(chosen.values())


def close(database: sqlite3.Connection, report: Report, state: str, by: str = "", **values: Any) -> None:
    """Set a report's state, with the time and who decided: `by`, or else the user of this process."""
    inbox.change(database, report.id, state=state, closed_at=inbox.now(), closed_by=by or user_name(), **values)
