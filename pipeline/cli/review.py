"""The command of people who decide about labels: review."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import Json, print_result
from pipeline.core import paths

if TYPE_CHECKING:
    from pipeline.params.root import Params


def add_to(app: typer.Typer, panel: str) -> None:
    """Add this command to the `nsfw` command, under a heading of its help."""
    app.command("review", rich_help_panel=panel)(review)


def review(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; other machines need --tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8001,
    tokens: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines name,token, of its owner alone: who may log in.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show what is left and how far people agree.")] = False,
    done: Annotated[bool, typer.Option("--done", help="Write what is settled into data/, and version it.")] = False,
    as_json: Json = False,
) -> None:
    """Decide about suspicious labels, on a page in your browser; --done writes the decisions into data/."""
    if status and done:
        raise typer.BadParameter("--status and --done exclude each other")
    if as_json and not (status or done):
        raise typer.BadParameter("--json goes with --status or --done")
    from pipeline.data import project
    from pipeline.params.root import load_params

    project.check_root()
    params = load_params()
    if status:
        _status(params, as_json=as_json)
    elif done:
        _done(params, as_json=as_json)
    else:
        from pipeline.review import serve

        serve.serve(params, host=host, port=port, token_file=tokens, ready=lambda address, _: _announce(address))


def _announce(address: str) -> None:
    print(f"review: {address}    (Ctrl-C ends; decisions are in {paths.REVIEW} at once)", flush=True)
    print("next: nsfw review --done   writes what is settled into data/", flush=True)


def _status(params: "Params", *, as_json: bool) -> None:
    from pipeline.review import acts, progress, queues, workplace
    from pipeline.review.library import Library
    from pipeline.review.store import Store

    store = Store(paths.REVIEW)
    rules = workplace.rules(params, store)
    disagreed = progress.disagreed(acts.all_opinions(store), rules)
    report = progress.document(store, rules, queues.all_queues(Library.load(params), params, disagreed))
    print_result(report, progress.describe(report), as_json=as_json)


def _done(params: "Params", *, as_json: bool) -> None:
    from pipeline.review import done, workplace
    from pipeline.review.store import Store

    store = Store(paths.REVIEW)
    report = done.write(store, params, workplace.rules(params, store))
    print_result(report, done.describe(report), as_json=as_json)
