"""The commands about public reports: `nsfw reports list`, accept, reject, merge, escalate, show, check, purge."""

from typing import Annotated, Any

import typer

from pipeline.cli.terminal import Json, call_mlflow, check_usage, print_result, project_params

reports_app = typer.Typer(no_args_is_help=True, help="Public reports: triage, regression cases, deletion.")

Reports = Annotated[list[str], typer.Argument(metavar="ID...", help="Reports, or the beginnings of their ids.")]
Note = Annotated[str, typer.Option(help="Why; shown with the report.")]


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    app.add_typer(reports_app, name="reports", rich_help_panel=panel)


@reports_app.command("list")
def list_reports(
    every: Annotated[bool, typer.Option("--all", help="Those that were decided, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the reports that wait for a decision, escalated ones first."""
    from pipeline.params.root import load_params
    from pipeline.reports import listing

    document = listing.collect(load_params(), every=every)
    print_result(document, listing.lines(document), as_json=as_json)


@reports_app.command("accept")
def accept(
    reports: Reports,
    slice_name: Annotated[str, typer.Option("--slice", help="The group whose bias the report is about: night.")] = "",
    ticket: Annotated[str, typer.Option(help="Of your tracker; the report's id by default.")] = "",
    label: Annotated[str, typer.Option(help="The right label, if it is not the one that the report names.")] = "",
    as_json: Json = False,
) -> None:
    """Make reports regression cases: rows of data/reports.csv, and their pictures part of data/."""
    from pipeline.data import project
    from pipeline.params.root import load_params
    from pipeline.reports import accepting

    naming = check_usage(lambda: accepting.Naming(slice_name.strip(), ticket.strip(), label))
    project.check_root()
    cases = accepting.accept(load_params(), reports, naming)
    lines = [
        f"{case.report.id}: {case.sha256[:12]} is {case.label}, ticket {case.ticket}"
        + ("" if case.new else " (a case already: no new row)")
        + (", picture added to data/" if case.content is not None else "")
        for case in cases
    ]
    keys = ("sha256", "label", "ticket", "new")
    document = {"accepted": [{"id": case.report.id} | {key: getattr(case, key) for key in keys} for case in cases]}
    tickets = ", ".join(dict.fromkeys(case.ticket for case in cases))
    commit = f"next: git add data.dvc && git commit -m 'Accept reports: {tickets}'"
    print_result(document, [*lines, "wrote data/reports.csv, data.dvc", commit, "      dvc repro"], as_json=as_json)


@reports_app.command("reject")
def reject(reports: Reports, note: Note = "", as_json: Json = False) -> None:
    """Reject reports; their pictures are deleted now, the rest by `purge`."""
    from pipeline.reports import triage

    _print_decided(triage.reject(reports, note), "rejected", as_json=as_json)


@reports_app.command("escalate")
def escalate(reports: Reports, note: Note = "", as_json: Json = False) -> None:
    """Put reports before whoever handles what no reviewer should; they come first in the list."""
    from pipeline.reports import triage

    _print_decided(triage.escalate(reports, note), "escalated", as_json=as_json)


@reports_app.command("merge")
def merge(
    reports: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Of one picture; none: every such group.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge reports of one picture, by its bytes or by near hashes, into one."""
    from pipeline.params.root import load_params
    from pipeline.reports import triage

    merged = triage.merge(load_params(), reports or ())
    lines = [f"{', '.join(report.id for report in others)} merged into {head.id}" for head, others in merged]
    document = {"merged": [{"into": head.id, "from": [report.id for report in others]} for head, others in merged]}
    print_result(document, lines or ["no two open reports are about one picture"], as_json=as_json)


@reports_app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="TICKET|ID", help="A case's ticket, or a report's id.")],
    as_json: Json = False,
) -> None:
    """Show a case's history over the versions, or a report of the inbox."""
    params = project_params()
    from pipeline.core.errors import UserError
    from pipeline.reports import cases, inbox, listing

    history = call_mlflow(lambda: cases.history(params, name))
    report = None
    if inbox.DATABASE.exists():
        with inbox.connect() as database:
            by_ticket = [each for each in inbox.reports(database) if each.ticket == name]
            report = by_ticket[0] if by_ticket else (None if history else inbox.find(database, name))
    if report is None and not history:
        raise UserError(f"no case of data/reports.csv, and no report, has the ticket or id {name[:40]!r}")
    lines = [line for case in history for line in cases.describe_history(case)]
    lines += listing.describe(report, params) if report else []
    print_result({"cases": history, "report": report and report.to_document()}, lines, as_json=as_json)


@reports_app.command("check")
def check(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number or an alias.")], as_json: Json = False
) -> None:
    """Put every accepted report to a version. Exit 1 if one is wrong, or has no answer."""
    params = project_params()
    from pipeline.reports import cases

    checked = call_mlflow(lambda: cases.check(params, version))
    print_result(checked.to_document(), checked.lines(), as_json=as_json)
    if checked.failed:
        raise typer.Exit(1)


@reports_app.command("purge")
def purge(as_json: Json = False) -> None:
    """Delete what was not accepted within reports.retain_days, pictures included, beyond recovery from the inbox."""
    from pipeline.params.root import load_params
    from pipeline.reports import retention

    params = load_params()
    purged = retention.purge(params.reports)
    days = params.reports.retain_days
    line = f"deleted {purged.reports} reports and {purged.pictures} pictures, older than {days} days"
    more = f"; removed comment, source and hashes of {purged.accepted} accepted ones" if purged.accepted else ""
    print_result(vars(purged), [line + more], as_json=as_json)


def _print_decided(reports: list[Any], what: str, *, as_json: bool) -> None:
    document = {what: [report.id for report in reports]}
    lines = [f"{report.id} {what}" for report in reports]
    print_result(document, [*lines, "next: nsfw reports list"], as_json=as_json)
