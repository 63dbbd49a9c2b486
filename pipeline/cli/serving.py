"""The commands that use a model: score, serve, demo, export."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import Json, call_mlflow, print_result, project_params
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.registry.verification import OpenedModel


class Formats(StrEnum):
    """The values of `nsfw export --format`."""

    savedmodel = "savedmodel"
    onnx = "onnx"
    litert = "litert"


class Quantizations(StrEnum):
    """The values of `nsfw export --quantize`."""

    none = "none"
    float16 = "float16"
    dynamic = "dynamic"


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    for command in (score, serve, demo, export):
        app.command(command.__name__, rich_help_panel=panel)(command)


def score(
    out: Annotated[Path, typer.Option(help="A new file: .parquet, .csv or .jsonl.")],
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATHS", help="Folders, files, tars (plain, gz or xz).")
    ] = None,
    *,
    listed: Annotated[
        Path | None, typer.Option("--list", help="A file with one path per line, or NUL after each; - is stdin.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="models:/NAME/3, models:/NAME@alias, or a folder of a version; production by default."),
    ] = None,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Use the version in spite of doubts.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Start again, and overwrite earlier results.")] = False,
    as_json: Json = False,
) -> None:
    """Score pictures: a row for each input, or the reason if it is unreadable. If interrupted, run it again."""
    if not paths and listed is None:
        raise typer.BadParameter("say what to score: PATHS, or --list FILE")
    params = project_params()
    import os

    from pipeline.batch_scoring import inputs, result, scoring
    from pipeline.registry.loading import open_model

    try:
        result.check(out)
    except UserError as error:
        raise typer.BadParameter(str(error)) from None
    typed = [os.fsencode(path) for path in paths or []]
    _check_exist(typed)
    named = inputs.read_list(Path("/dev/stdin") if str(listed) == "-" else listed) if listed else []
    job = scoring.Job((*typed, *named), out, restart)
    opened = call_mlflow(lambda: open_model(params, model, allow_unverified=allow_unverified))
    _print_doubts(opened)
    report = scoring.score(opened, params, job)
    print_result(report.to_document(), report.lines(), as_json=as_json)


def _print_doubts(opened: "OpenedModel") -> None:
    for doubt in opened.doubts:
        print(f"DOUBT, passed over: {doubt}", file=sys.stderr)


def _check_exist(paths: list[bytes]) -> None:
    """Raise UserError for a typed path that does not exist. A path of --list may be missing: it becomes a row."""
    for path in paths:
        if not Path(path.decode(sys.getfilesystemencoding(), "surrogateescape")).exists():
            raise UserError(
                f"{path.decode('utf-8', 'backslashreplace')} does not exist. PATHS are what is to be scored."
            )


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 means all of this machine.")] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one; the log names it.")] = 8000,
    model: Annotated[
        str | None, typer.Option(help="Always serve this one: models:/NAME/3, models:/NAME@alias, or a folder.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a registry, or a first promotion.")] = False,
    allow_unverified: Annotated[bool, typer.Option("--allow-unverified", help="Ignore every doubt.")] = False,
) -> None:
    """Classify pictures that are posted to /v1/classify, with the production model, until SIGTERM."""
    from pipeline.params.root import load_params
    from pipeline.tracking.server import prepare_environment

    prepare_environment()
    params = load_params()
    from pipeline.core import processes
    from pipeline.service import serve as serving

    serving.serve(params, host=host, port=port, model=model, wait=wait, allow_unverified=allow_unverified)
    processes.exit_now()


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine alone; 0 takes a free one.")] = 8002,
    model: Annotated[
        str | None, typer.Option(help="Show this one: models:/NAME/3, models:/NAME@alias, or a folder.")
    ] = None,
) -> None:
    """Show a page on this machine that classifies a picture, and takes reports of wrong answers, until Ctrl-C."""
    params = project_params()
    from pipeline.core import processes
    from pipeline.demo import serve as demo_page

    demo_page.serve(params, port=port, model=model)
    processes.exit_now()


def export(
    kind: Annotated[Formats, typer.Option("--format", help="For TensorFlow, ONNX Runtime, or LiteRT.")],
    out: Annotated[Path | None, typer.Option(help="A new folder; exported/... by default.")] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(help="models:/NAME/3, models:/NAME@alias, or a folder of a version; production by default."),
    ] = None,
    quantize: Annotated[
        Quantizations, typer.Option(help="Weights in 16 bits, or in 8 (dynamic range); onnx and litert.")
    ] = Quantizations.none,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Export the version in spite of doubts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export a version for another runtime if it gives the same numbers on the test pictures. Exit 1 if not."""
    params = project_params()
    from pipeline.exporting import export as exporting
    from pipeline.exporting import formats
    from pipeline.registry.loading import open_model

    job = exporting.Job(kind.value, quantize.value, out)
    formats.check(job.format, job.quantize)
    version = call_mlflow(lambda: open_model(params, model, allow_unverified=allow_unverified))
    _print_doubts(version)
    result = exporting.export(version, params, job)
    print_result(result.to_document(), result.lines(), as_json=as_json)
    if result.folder is None:
        raise typer.Exit(1)
