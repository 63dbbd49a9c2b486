"""The inbox and its reports as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.reports import inbox, retention, same_pictures
from pipeline.reports.inbox import Report

if TYPE_CHECKING:
    from pipeline.params.root import Params

_SHOWN_COMMENT = 60


def collect(params: Params, *, every: bool) -> dict[str, Any]:
    """Return the reports that wait (or all), the groups that seem to be one picture each, and the counters."""
    if not inbox.DATABASE.exists():
        return {"reports": [], "same_picture": [], "counters": {}}
    with inbox.connect() as database:
        listed = inbox.reports(database, () if every else inbox.OPEN)
        counters = inbox.counters(database)
    waiting = [report for report in listed if report.state in inbox.OPEN]
    groups = [[report.id for report in group] for group in same_pictures.groups(waiting, params.dedupe)]
    rows = [report.to_document() | {"days_left": retention.days_left(report, params.reports)} for report in listed]
    return {"reports": rows, "same_picture": [group for group in groups if len(group) > 1], "counters": counters}


def lines(document: dict[str, Any]) -> list[str]:
    """Return `collect`'s document as lines."""
    rows = document["reports"]
    if not rows:
        return ["no report waits. `nsfw demo` takes them; `nsfw reports list --all` shows those that were decided."]
    text = [_line(row) for row in rows]
    text += [f"one picture, it seems: {' '.join(group)}" for group in document["same_picture"]]
    refused = ", ".join(f"{count} {name}" for name, count in document["counters"].items())
    text += [f"and only counted: {refused}"] if refused else []
    return [*text, "next: nsfw reports show ID; nsfw reports accept ID --slice NAME, reject, merge, escalate"]


def _line(row: dict[str, Any]) -> str:
    state = row["state"] if row["state"] not in inbox.OPEN else f"{row['state']}, {row['days_left']} days left"
    what = "with its picture" if row["picture"] else "hashes alone"
    times = f", {row['count']} times" if row["count"] > 1 else ""
    comment = row["comment"][:_SHOWN_COMMENT] + ("…" if len(row["comment"]) > _SHOWN_COMMENT else "")
    quoted = f': "{comment}"' if comment else ""
    head = f"{row['id']}  {row['created_at'][:16]}  {state}  {row['answer']} -> {row['expected_label']}"
    return f"{head}, by version {row['version']}, {what}{times}{quoted}"


def describe(report: Report, params: Params) -> list[str]:
    """Return everything about one report."""
    ranked = sorted(report.scores.items(), key=lambda pair: -pair[1])
    where = f"{inbox.PICTURES / report.picture}" if report.picture else "not here: hashes alone"
    text = [
        f"{report.id}: {report.state}",
        f"  reported    {report.created_at}, {report.count} times by this source, as {report.expected_label}",
        f"  model       {report.model}, version {report.version}: {report.decision or 'no threshold'}",
        "              " + ", ".join(f"{name} {value:.3f}" for name, value in ranked),
        f"  picture     {report.sha256} as it was sent; {where}",
    ]
    text += [f"  comment     {report.comment}"] if report.comment else []
    text += [f"  decided     {report.closed_at} by {report.closed_by}: {report.note}"] if report.closed_at else []
    text += [f"  merged      into {report.merged_into}"] if report.merged_into else []
    if report.case_sha256:
        text.append(f"  case        ticket {report.ticket}, picture {report.case_sha256}")
    if report.state != inbox.ACCEPTED:
        text.append(f"  deleted     in {retention.days_left(report, params.reports)} days, if nobody accepts it")
    return text
