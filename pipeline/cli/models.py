"""The commands about registered models: gates, promote, rollback, history, trace, compare, verify."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.params.root import Params
    from pipeline.promotion.promoting import Outcome

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Version = Annotated[str | None, typer.Argument(metavar="VERSION", help="A number or an alias; the challenger if none.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; `nsfw history` shows it for ever.")]
TestChange = Annotated[str, typer.Option("--test-change", help="Name why the test set is another than production's.")]

_log = logging.getLogger(__name__)


def tell(document: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a command's result, for a program or for a person."""
    if as_json:
        print(json.dumps(document, indent=2, sort_keys=True, default=str))
    else:
        print("\n".join(map(_harmless, lines)))


def _harmless(text: str) -> str:
    """Return text without what would steer a terminal: much of it comes from a registry that others write to."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    for command in (gates, promote, rollback, history, trace, compare, measure, verify):
        app.command(command.__name__, rich_help_panel=panel)(command)


def gates(version: Version = None, test_change: TestChange = "", as_json: Json = False) -> None:
    """Judge a version by register.gates against production, and move nothing. Exit 1 where a gate fails."""
    params = _params()
    from pipeline.promotion import promoting, rescoring

    outcome = _asked(
        lambda: promoting.judge(params, version, test_change=test_change, rescore=rescoring.rescorer(params))
    )
    ways = [f"next: nsfw promote {outcome.version} --reason ..."] if not outcome.failed else []
    tell(outcome.to_document(), [*_table(outcome), *ways, *_unfetched(outcome)], as_json=as_json)
    if outcome.failed:
        raise typer.Exit(1)


def promote(
    reason: Reason,
    version: Version = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", metavar="GATE", help="Pass this gate though it fails; recorded.")
    ] = None,
    test_change: TestChange = "",
    as_json: Json = False,
) -> None:
    """Make a version production, if it passes the gates against whoever is there now. Exit 1 where it is refused."""
    from pipeline.promotion import promoting, rescoring

    _said(lambda: promoting.check(reason, override or (), test_change))
    params = _params()

    outcome = _asked(
        lambda: promoting.promote(
            params,
            version,
            reason=reason,
            overrides=override or (),
            test_change=test_change,
            rescore=rescoring.rescorer(params),
        )
    )
    tell(outcome.to_document(), [*_table(outcome), *_told(outcome, "promoted")], as_json=as_json)
    if outcome.entry is None:
        raise typer.Exit(1)


def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="The one before, if not said.")] = None,
    as_json: Json = False,
) -> None:
    """Put an earlier production back, at once and without gates."""
    from pipeline.promotion import promoting

    _said(lambda: promoting.check(reason))
    params = _params()

    outcome = _asked(lambda: promoting.rollback(params, to, reason=reason))
    tell(outcome.to_document(), [*_findings(outcome), *_told(outcome, "rolled back")], as_json=as_json)


def history(as_json: Json = False) -> None:
    """Tell what was in production, when, by whom and why, and what went past the gates."""
    params = _params()
    from pipeline.promotion import history as histories

    found = _asked(lambda: histories.history(params))
    tell(found.to_document(), found.lines(), as_json=as_json)


def trace(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number or an alias.")], as_json: Json = False
) -> None:
    """Tell what made a version (commit, data, params, run), and how to make it again."""
    params = _params()
    from pipeline.promotion import tracing

    found = _asked(lambda: tracing.trace(params, version))
    tell(found, tracing.lines(found), as_json=as_json)


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A version or an alias: production, say.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another: challenger, say.")],
    out: Annotated[Path | None, typer.Option(help="Write the pictures that changed sides to this csv.")] = None,
    as_json: Json = False,
) -> None:
    """Put two versions side by side on the same test pictures, with paired intervals and what changed sides."""
    params = _params()
    import pandas as pd

    from pipeline.core import files, tables
    from pipeline.promotion import comparison, rescoring

    if out is not None:
        files.check_target(out)
    found = _asked(lambda: comparison.compare(params, before, after, rescoring.rescorer(params)))
    lines = comparison.lines(found)
    if out is not None:
        tables.write_csv(pd.DataFrame(found["moved"], columns=list(comparison.MOVED)), out)
        lines.append(f"wrote {out}: {len(found['moved'])} pictures")
    tell(found, lines, as_json=as_json)


def measure(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds a folder for each label: DIR/neutral/**.")],
    version: Annotated[str, typer.Option(help="A number or an alias.")] = "challenger",
    as_json: Json = False,
) -> None:
    """Measure a version on any folder of pictures, as of your own traffic: false positives, calibration, speed."""
    params = _params()
    from pipeline.promotion import measurement

    found = _asked(lambda: measurement.measure(params, version, folder))
    tell(found, measurement.lines(found), as_json=as_json)


def verify(
    allow_unverified: Annotated[bool, typer.Option("--allow-unverified", help="Pass over every doubt.")] = False,
    as_json: Json = False,
) -> None:
    """Load what would serve as production, its evidence and bytes checked. Exit 1 where it would be refused."""
    params = _params()
    from pipeline.registry import verification

    found = _asked(lambda: verification.verify(params, allow_unverified=allow_unverified))
    labels = found.classifier().labels
    lines = [f"DOUBT, passed over: {doubt}" for doubt in found.doubts]
    lines.append(f"version {found.version} of {found.model} is loaded: {', '.join(labels)}")
    document = {"model": found.model, "version": found.version, "labels": labels, "doubts": found.doubts}
    tell(document, lines, as_json=as_json)


def _params() -> "Params":
    from pipeline.params.root import load_params
    from pipeline.tracking.server import prepare_environment

    prepare_environment()
    return load_params()


def _said(check: Callable[[], None]) -> None:
    """Check what was said on the command line; a mistake there is wrong usage, exit 2."""
    try:
        check()
    except UserError as error:
        raise typer.BadParameter(_harmless(str(error))) from None


def _asked(act: Any) -> Any:
    """Do what asks MLflow; its own errors become one line."""
    from pipeline.tracking import server
    from pipeline.tracking.publish import describe

    try:
        return server.patiently(act)
    except UserError as error:
        raise UserError(_harmless(str(error))) from error
    except server.Unreachable as error:
        raise UserError(f"{error}. Start it, or set MLFLOW_TRACKING_URI, and run this again.") from None
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            raise UserError(_harmless(f"{describe(error)}.")) from None
        raise


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


def _told(outcome: "Outcome", done: str) -> list[str]:
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
