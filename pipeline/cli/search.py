"""The command that searches hyperparameters: tune."""

import sys
from typing import Annotated

import typer

from pipeline.cli.terminal import Json, print_result


def add_to(app: typer.Typer, panel: str) -> None:
    """Add this command to the `nsfw` command, under a heading of its help."""
    app.command("tune", rich_help_panel=panel)(tune)


def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="Finished trials of the first rung; tune.trials by default.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    study: Annotated[str | None, typer.Option(help="Its name; tune.study by default.")] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Of the database; tune.storage by default.")
    ] = None,
    join: Annotated[str | None, typer.Option(metavar="URL", help="Join a search that another machine started.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Confirm the winner, and write it into params.yaml.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Write a gain that may be noise.")] = False,
    as_json: Json = False,
) -> None:
    """Search dropout, L2, unfreeze point and schedule, as params.yaml (tune) says. The same command continues."""
    if join and (write or storage):
        raise typer.BadParameter("--join goes with neither --write nor --storage")
    if anyway and not write:
        raise typer.BadParameter("--anyway goes with --write")
    from pipeline.data import project
    from pipeline.params.root import load_params, parse_params
    from pipeline.tracking.server import prepare_environment
    from pipeline.tuning import report, search

    project.check_root()
    prepare_environment()
    params = load_params()
    options = {"trials": trials, "study": study, "storage": join or storage}
    document = params.model_dump(by_alias=True)
    document["tune"] |= {name: value for name, value in options.items() if value is not None}
    params = parse_params(document, "nsfw tune")
    results = report.collect(search.search(params, workers=workers, joining=bool(join)), params)
    if not write:
        print_result(results, report.describe(results), as_json=as_json)
        return
    print("\n".join(report.describe(results)), file=sys.stderr)
    proposed = report.propose(params, anyway=anyway, log=lambda line: print(line, file=sys.stderr, flush=True))
    print_result(results | proposed, report.describe_proposal(proposed), as_json=as_json)
