"""The commands that ask a model about pictures, or take it elsewhere: score, serve, export."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.models import _asked, _params, tell
from pipeline.core.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class Formats(StrEnum):
    """What `nsfw export --format` takes."""

    savedmodel = "savedmodel"
    onnx = "onnx"
    litert = "litert"


class Quantizations(StrEnum):
    """What `nsfw export --quantize` takes."""

    none = "none"
    float16 = "float16"
    dynamic = "dynamic"


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    for command in (score, serve, export):
        app.command(command.__name__, rich_help_panel=panel)(command)


def score(
    out: Annotated[Path, typer.Option(help="A new file: .parquet, .csv or .jsonl.")],
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATHS", help="Folders, files, tars (plain, gz or xz).")
    ] = None,
    *,
    listed: Annotated[
        Path | None, typer.Option("--list", help="A file with a path a line, or NUL after each; - is stdin.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="models:/NAME/3, models:/NAME@alias, or a folder of a version; production if none."),
    ] = None,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Score with what serves in spite of doubts.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew over what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Score pictures: a row for each input, for the unreadable with the reason. Cut short, the same command goes on."""
    if not paths and listed is None:
        raise typer.BadParameter("say what to score: PATHS, or --list FILE")
    params = _params()
    import os

    from pipeline.batch_scoring import inputs, result, scoring
    from pipeline.registry.loading import open_model

    try:
        result.check(out)
    except UserError as error:
        raise typer.BadParameter(str(error)) from None
    typed = [os.fsencode(path) for path in paths or []]
    _check_there(typed)
    named = inputs.listed(Path("/dev/stdin") if str(listed) == "-" else listed) if listed else []
    job = scoring.Job((*typed, *named), out, restart)
    found = _asked(lambda: open_model(params, model, allow_unverified=allow_unverified))
    for doubt in found.doubts:
        print(f"DOUBT, passed over: {doubt}", file=sys.stderr)
    report = scoring.score(found, params, job)
    tell(report.to_document(), report.lines(), as_json=as_json)


def _check_there(paths: list[bytes]) -> None:
    """Refuse a typed path that is not there: a mistake, where a listed one is an input that has vanished."""
    for path in paths:
        if not Path(path.decode(sys.getfilesystemencoding(), "surrogateescape")).exists():
            raise UserError(
                f"{path.decode('utf-8', 'backslashreplace')} does not exist. PATHS are what is to be scored."
            )


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one that this machine has.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one; the log tells which.")] = 8000,
    model: Annotated[
        str | None, typer.Option(help="Serve this one for good: models:/NAME/3, models:/NAME@alias, or a folder.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a registry, or a first promotion.")] = False,
    allow_unverified: Annotated[bool, typer.Option("--allow-unverified", help="Pass over every doubt.")] = False,
) -> None:
    """Classify over HTTP what is posted to /v1/classify, with the model that is in production, until SIGTERM."""
    from pipeline.params.root import load_params
    from pipeline.tracking.server import prepare_environment

    prepare_environment()
    params = load_params()
    from pipeline.core import processes
    from pipeline.service import serve as serving

    serving.serve(params, host=host, port=port, model=model, wait=wait, allow_unverified=allow_unverified)
    processes.leave()


def export(
    kind: Annotated[Formats, typer.Option("--format", help="For TensorFlow, ONNX Runtime, or LiteRT.")],
    out: Annotated[Path | None, typer.Option(help="A new folder; exported/... if none.")] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(help="models:/NAME/3, models:/NAME@alias, or a folder of a version; production if none."),
    ] = None,
    quantize: Annotated[
        Quantizations, typer.Option(help="Weights in 16 bits, or in 8 (dynamic range); onnx and litert.")
    ] = Quantizations.none,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Export what serves in spite of doubts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a version for another runtime, once it gives the same numbers on the test pictures. Exit 1 where not."""
    params = _params()
    from pipeline.exporting import export as exporting
    from pipeline.exporting import formats
    from pipeline.registry.loading import open_model

    job = exporting.Job(kind.value, quantize.value, out)
    formats.check(job.format, job.quantize)
    version = _asked(lambda: open_model(params, model, allow_unverified=allow_unverified))
    for doubt in version.doubts:
        print(f"DOUBT, passed over: {doubt}", file=sys.stderr)
    found = exporting.export(version, params, job)
    tell(found.to_document(), found.lines(), as_json=as_json)
    if found.folder is None:
        raise typer.Exit(1)
