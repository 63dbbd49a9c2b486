"""The commands about registered models: gates, promote, rollback, history, trace, compare, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import Json, call_mlflow, check_usage, print_result, project_params

if TYPE_CHECKING:
    from pipeline.promotion.outcome import Outcome

Version = Annotated[
    str | None, typer.Argument(metavar="VERSION", help="A number or an alias; the challenger by default.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; `nsfw history` shows it.")]
TestChange = Annotated[str, typer.Option("--test-change", help="Why the test set differs from production's.")]


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    for command in (gates, promote, rollback, history, trace, compare, measure, verify):
        app.command(command.__name__, rich_help_panel=panel)(command)


def gates(version: Version = None, test_change: TestChange = "", as_json: Json = False) -> None:
    """Judge a version by register.gates against production, without promoting it. Exit 1 if a gate fails."""
    params = project_params()
    from pipeline.promotion import promoting, rescoring

    outcome = call_mlflow(
        lambda: promoting.judge(params, version, test_change=test_change, rescore=rescoring.rescorer(params))
    )
    ways = [f"next: nsfw promote {outcome.version} --reason ..."] if not outcome.failed else []
    print_result(outcome.to_document(), [*_table(outcome), *ways, *_unfetched(outcome)], as_json=as_json)
    if outcome.failed:
        raise typer.Exit(1)


def promote(
    reason: Reason,
    version: Version = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", metavar="GATE", help="Pass this gate although it fails; recorded.")
    ] = None,
    test_change: TestChange = "",
    as_json: Json = False,
) -> None:
    """Make a version production if it passes the gates against the current one. Exit 1 if it is refused."""
    from pipeline.promotion import moves, promoting, rescoring

    check_usage(lambda: moves.check_options(reason, override or (), test_change))
    params = project_params()

    outcome = call_mlflow(
        lambda: promoting.promote(
            params,
            version,
            reason=reason,
            overrides=override or (),
            test_change=test_change,
            rescore=rescoring.rescorer(params),
        )
    )
    print_result(outcome.to_document(), [*_table(outcome), *_outcome_lines(outcome, "promoted")], as_json=as_json)
    if outcome.entry is None:
        raise typer.Exit(1)


def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="The previous one by default.")] = None,
    as_json: Json = False,
) -> None:
    """Make an earlier production version production again, without gates."""
    from pipeline.promotion import moves, promoting

    check_usage(lambda: moves.check_options(reason))
    params = project_params()

    outcome = call_mlflow(lambda: promoting.rollback(params, to, reason=reason))
    print_result(outcome.to_document(), [*_findings(outcome), *_outcome_lines(outcome, "rolled back")], as_json=as_json)


def history(as_json: Json = False) -> None:
    """Show what was in production, when, by whom and why, and what bypassed the gates."""
    params = project_params()
    from pipeline.promotion import history as histories

    report = call_mlflow(lambda: histories.history(params))
    print_result(report.to_document(), report.lines(), as_json=as_json)


def trace(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number or an alias.")], as_json: Json = False
) -> None:
    """Show what made a version (commit, data, params, run), and how to rebuild it."""
    params = project_params()
    from pipeline.promotion import tracing

    report = call_mlflow(lambda: tracing.trace(params, version))
    print_result(report, tracing.lines(report), as_json=as_json)


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A version or an alias, such as production.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one, such as challenger.")],
    out: Annotated[Path | None, typer.Option(help="Write the pictures with another decision to this csv.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two versions on the same test pictures, with paired intervals and the changed decisions."""
    params = project_params()
    import pandas as pd

    from pipeline.core import files, tables
    from pipeline.promotion import changed_sides, comparison, rescoring

    if out is not None:
        files.check_target(out)
    comparison_report = call_mlflow(lambda: comparison.compare(params, before, after, rescoring.rescorer(params)))
    lines = comparison.lines(comparison_report)
    if out is not None:
        tables.write_csv(pd.DataFrame(comparison_report["moved"], columns=list(changed_sides.MOVED_COLUMNS)), out)
        lines.append(f"wrote {out}: {len(comparison_report['moved'])} pictures")
    print_result(comparison_report, lines, as_json=as_json)


def measure(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds a folder for each label: DIR/neutral/**.")],
    version: Annotated[str, typer.Option(help="A number or an alias.")] = "challenger",
    as_json: Json = False,
) -> None:
    """Measure a version on any folder of pictures, such as your own traffic: false positives, calibration, speed."""
    params = project_params()
    from pipeline.promotion import measurement

    report = call_mlflow(lambda: measurement.measure(params, version, folder))
    print_result(report, measurement.lines(report), as_json=as_json)


def verify(
    allow_unverified: Annotated[bool, typer.Option("--allow-unverified", help="Ignore every doubt.")] = False,
    as_json: Json = False,
) -> None:
    """Load production as a service would, with its evidence and bytes checked. Exit 1 if it would be refused."""
    params = project_params()
    from pipeline.registry import verification

    opened = call_mlflow(lambda: verification.verify(params, allow_unverified=allow_unverified))
    labels = opened.classifier().labels
    lines = [f"DOUBT, passed over: {doubt}" for doubt in opened.doubts]
    lines.append(f"version {opened.version} of {opened.model} is loaded: {', '.join(labels)}")
    document = {"model": opened.model, "version": opened.version, "labels": labels, "doubts": opened.doubts}
    print_result(document, lines, as_json=as_json)


def _findings(outcome: "Outcome") -> list[str]:
    return [f"WARNING: {finding}" for finding in outcome.findings]


def _table(outcome: "Outcome") -> list[str]:
    from pipeline.promotion.formatting import gate_lines

    against = "nothing in production" if outcome.previous is None else f"version {outcome.previous} in production"
    head = f"{outcome.model} version {outcome.version} against {against}"
    return [*_findings(outcome), head, *gate_lines(outcome.table)]


def _unfetched(outcome: "Outcome") -> list[str]:
    if not outcome.unfetched:
        return []
    from pipeline.registry.evidence_store import BRING_BACK

    return [f"cannot be judged: {outcome.unfetched}", f"next: {BRING_BACK}"]


def _outcome_lines(outcome: "Outcome", done: str) -> list[str]:
    if outcome.entry is None and outcome.unfetched:
        return [f"refused. Production stays {outcome.previous or 'empty'}.", *_unfetched(outcome)]
    if outcome.entry is None:
        failed = outcome.failed
        return [
            f"refused: {', '.join(failed)}. Production stays {outcome.previous or 'empty'}.",
            f"next: train a better one; or `nsfw promote {outcome.version} "
            + " ".join(f"--override {name}" for name in failed)
            + " --reason ...`, which is recorded as such",
        ]
    late = f", after {outcome.lost} races lost" if outcome.lost else ""
    over = f", over {', '.join(outcome.overrides)}" if outcome.overrides else ""
    move = f"{outcome.previous or '-'} -> {outcome.version}"
    return [
        f"{done}: {outcome.model} {move}, entry {outcome.entry.number}{over}{late}",
        "next: nsfw history; nsfw rollback --reason ... takes it back",
    ]
