"""Screens the pictures of public reports before they become part of data/: a list may have grown since they came."""

from collections.abc import Iterable

from pipeline.core import executor, paths
from pipeline.core.errors import UserError
from pipeline.data import escalations
from pipeline.images.sandbox import WorkerLimits
from pipeline.params.root import Params
from pipeline.reports.inbox import Report
from pipeline.screening.screens import open_screens

DOOR = "reports accept"


def check(params: Params, contents: Iterable[tuple[Report, bytes]]) -> None:
    """Check that no screen of params.yaml matches a report's picture; a match is recorded.

    Raises:
        UserError: one does, or gives no answer; or a list cannot be read.

    """
    cost = WorkerLimits(params.catalog.seconds, params.catalog.memory_mb, executor.cores())
    screens = open_screens(params, cost=cost)
    if screens is None:
        return
    for report, content in contents:
        verdict = screens.examine(content)
        if verdict.matches:
            rows = verdict.rows(origin=f"report/{report.id}.png", source=DOOR, door=DOOR)
            escalations.append(paths.ESCALATION_RECORDS, rows)
            raise UserError(
                f"report {report.id}: its picture is {verdict.reason}. Nothing was accepted. Call {screens.contact}; "
                f"`nsfw reports reject {report.id}` deletes the picture; its hashes are in {paths.ESCALATION_RECORDS}"
            )
        if verdict.problem:
            raise UserError(
                f"report {report.id}: its picture is {verdict.reason}. Nothing was accepted: run this again."
            )
