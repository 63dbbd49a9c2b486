"""The commands that ask a model: serve."""

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the `nsfw` command."""
    for command in (serve,):
        app.command(command.__name__)(command)


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one that this machine has.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one; the log tells which.")] = 8000,
    model: Annotated[
        str | None, typer.Option("--model", metavar="VERSION", help="A number or an alias, for good; else production.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a registry, or a first promotion.")] = False,
    allow_unverified: Annotated[bool, typer.Option("--allow-unverified", help="Pass over every doubt.")] = False,
) -> None:
    """Classify over HTTP what is posted to /v1/classify, with the model that is in production, until SIGTERM."""
    import os

    from pipeline.params import load_params
    from pipeline.tracking.server import prepare_environment

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    prepare_environment()
    params = load_params()
    from pipeline import serve as serving

    serving.serve(params, host=host, port=port, model=model, wait=wait, allow_unverified=allow_unverified)
