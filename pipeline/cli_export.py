"""The command that takes a registered version out of the registry, for runtimes without this project."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli_models import _asked, _params, tell

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class Formats(StrEnum):
    """What --format takes."""

    savedmodel = "savedmodel"
    onnx = "onnx"
    litert = "litert"


class Quantizations(StrEnum):
    """What --quantize takes."""

    none = "none"
    float16 = "float16"
    dynamic = "dynamic"


def add_to(app: typer.Typer) -> None:
    """Add this command to the `nsfw` command."""
    app.command("export")(export)


def export(
    kind: Annotated[Formats, typer.Option("--format", help="For TensorFlow, ONNX Runtime, or LiteRT.")],
    model: Annotated[
        str | None, typer.Option(help="models:/NAME/3, models:/NAME@challenger, 3 or challenger; production if none.")
    ] = None,
    quantize: Annotated[
        Quantizations, typer.Option(help="Weights in 16 bits, or in 8 (dynamic range); onnx and litert.")
    ] = Quantizations.none,
    out: Annotated[Path | None, typer.Option(help="A new folder; exported/... if none.")] = None,
    as_json: Json = False,
) -> None:
    """Write a version for another runtime, once it gives the same numbers on the test pictures. Exit 1 where not."""
    params = _params()
    from pipeline.exporting import export as exporting

    job = exporting.Job(kind.value, model, quantize.value, out)
    found = _asked(lambda: exporting.export(params, job))
    decision = exporting.decision_of(found.document)
    folder = None if found.folder is None else str(found.folder)
    document = {**found.document, "folder": folder, "failures": list(found.failures)}
    tell(document, exporting.lines(found, decision), as_json=as_json)
    if found.folder is None:
        raise typer.Exit(1)
