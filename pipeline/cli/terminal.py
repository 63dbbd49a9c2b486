"""What the commands share: how a result is printed, and how a failure of MLflow becomes one line."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.params.root import Params

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_result(document: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a command's result, for a program or for a person."""
    if as_json:
        print(json.dumps(document, indent=2, sort_keys=True, default=str))
    else:
        print("\n".join(map(printable, lines)))


def printable(text: str) -> str:
    """Return `text` without control characters: much of it comes from a registry that others write to."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def project_params() -> "Params":
    """Return params.yaml, after the environment is prepared for MLflow, which reads its variables when it is imported.

    From now on shards go to the cluster that params.yaml names, if it names one.
    """
    from pipeline.core import executor
    from pipeline.params.root import load_params
    from pipeline.tracking.server import prepare_environment

    prepare_environment()
    params = load_params()
    executor.use(params.compute.scheduler)
    return params


def check_usage(check: Callable[[], T]) -> T:
    """Return what a check of command line options returns; its UserError becomes wrong usage, exit 2."""
    try:
        return check()
    except UserError as error:
        raise typer.BadParameter(printable(str(error))) from None


def call_mlflow(request: Callable[[], T]) -> T:
    """Return what `request`, which talks to MLflow, returns.

    Raises:
        UserError: MLflow does not answer, or refuses; the message is one line.

    """
    from pipeline.tracking import server
    from pipeline.tracking.publish import describe
    from pipeline.tracking.unreachable import Unreachable

    try:
        return server.run_watched(request)
    except UserError as error:
        raise UserError(printable(str(error))) from error
    except Unreachable as error:
        raise UserError(f"{error}. Start it, or set MLFLOW_TRACKING_URI, and run this again.") from None
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            raise UserError(printable(f"{describe(error)}.")) from None
        raise
