"""`nsfw monitor`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.terminal import Json, check_usage, print_result, project_params
from pipeline.core import paths
from pipeline.core.errors import UserError

_AUDIT_SAMPLE = "audit_sample.csv"


def add_to(app: typer.Typer, panel: str) -> None:
    """Add the command to the `nsfw` command, under a heading of its help."""
    app.command("monitor", rich_help_panel=panel)(monitor)


def monitor(
    reference: Annotated[
        Path | None, typer.Option(help="Scores of the time to compare with: a table of `nsfw score`.")
    ] = None,
    window: Annotated[
        list[Path] | None, typer.Option(help="Scores of the time to look at; several times, in their order.")
    ] = None,
    slices: Annotated[Path | None, typer.Option(help="A csv of sha256,slice: compare within each slice, too.")] = None,
    by_folder: Annotated[bool, typer.Option("--by-folder", help="Each folder of pictures is a slice.")] = False,
    audit_sample: Annotated[
        int | None, typer.Option(min=20, metavar="N", help="Draw about N pictures of the windows for people to label.")
    ] = None,
    audited: Annotated[
        Path | None, typer.Option(metavar="CSV", help="A labelled sample: print true recall and precision.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page; the sample is written beside it.")] = paths.REPORTS_DIR
    / "monitor.html",
    as_json: Json = False,
) -> None:
    """Tell whether traffic has drifted, from scores of two times. Exit 1 if it has."""
    check_usage(lambda: _check_options(reference, window, audited))
    sampled = out.with_name(_AUDIT_SAMPLE)
    if audit_sample is not None and sampled.exists():
        raise UserError(f"{sampled} exists already, and may hold people's labels. Move it away and run this again.")
    params = project_params()
    from pipeline.core import files
    from pipeline.data import annotation_files
    from pipeline.monitoring import audit_sample as sampling
    from pipeline.monitoring import monitor as monitoring
    from pipeline.monitoring import scores

    if audited is not None:
        rows = sampling.read(audited, params.labels.names, params.labels.unsafe)
        result = sampling.estimate(rows, confidence=params.evaluate.confidence, seed=params.seed)
        print_result(result.document(), result.lines(), as_json=as_json)
        return
    before, *windows = (scores.read(path) for path in (reference, *(window or ())) if path is not None)
    scores.check_comparable(before, windows)
    members = None if slices is None else annotation_files.slices(slices)[["sha256", "slice"]]
    if by_folder:
        members = monitoring.by_folder([before, *windows])
    report = monitoring.monitor(before, windows, members, params)
    files.write_text(report.page(), out)
    lines = [*report.lines(), f"wrote {out}"]
    document = report.document() | {"page": str(out)}
    if audit_sample is not None:
        sample = sampling.draw(windows, audit_sample, params.seed)
        sampling.write(sample, sampled)
        lines += [
            f"wrote {len(sample)} pictures to label: {sampled}",
            f"next: fill in its column label, then nsfw monitor --audited {sampled}",
        ]
    published = monitoring.record(report)
    document |= {"run_id": published.run_id}
    lines += [f"{published.problem}: `nsfw sync` publishes it"] if published.problem else []
    print_result(document, lines, as_json=as_json)
    if report.drifted:
        raise typer.Exit(1)


def _check_options(reference: Path | None, windows: list[Path] | None, audited: Path | None) -> None:
    if audited is None and (reference is None or not windows):
        raise UserError("it needs --reference and --window, or --audited")
    if audited is not None and (reference is not None or windows):
        raise UserError("--audited stands alone: its table has all that it needs")
