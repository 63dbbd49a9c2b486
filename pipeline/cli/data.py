"""The commands about data/: its versions, and the removal of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.terminal import Json, print_result

data_app = typer.Typer(no_args_is_help=True, help="The versions of data/, and the removal of pictures.")


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    app.command("show", rich_help_panel=panel)(show)
    app.add_typer(data_app, name="data", rich_help_panel=panel)


def show(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="A picture's sha256, or its beginning.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the picture's original bytes to a new file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show everything known about a picture: files, labels, copies, split, predictions, decisions."""
    from pipeline.core.errors import UserError
    from pipeline.data import project
    from pipeline.overview import picture
    from pipeline.params.root import load_params

    project.check_root()
    if out is not None and out.exists():
        raise UserError(f"{out} exists already. Name a new file.")
    known = picture.collect(sha256, load_params().labels.names)
    lines = picture.describe(known)
    if out is not None:
        picture.write(known["sha256"], out)
        lines.append(f"wrote {out}")
    print_result(known, lines, as_json=as_json)


@data_app.callback()
def _group() -> None:
    """The versions of data/, and the removal of pictures."""


@data_app.command("versions")
def versions(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Commits, the latest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List which raw scrape, deduplicated set and splits each commit names, with counts."""
    from pipeline.data import history as of_commits
    from pipeline.data import project

    project.check_root()
    rows = of_commits.collect(limit)
    print_result(of_commits.to_document(rows), of_commits.describe(rows), as_json=as_json)


@data_app.command("remove")
def remove(
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded with the hash.")],
    sha256: Annotated[
        list[str] | None, typer.Option("--sha256", metavar="HEX", help="A picture's sha256; repeatable.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="A file's path below its folder; exact, or a pattern with *.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="All pictures of a source; with --origin, only its files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would do, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove pictures for good: their bytes are deleted from data/, and no later ingest stores them again."""
    if not sha256 and origin is None and source is None:
        raise typer.BadParameter("say which: --sha256 HEX, --origin TEXT or --source NAME")
    if sha256 and (origin is not None or source is not None):
        raise typer.BadParameter("--sha256 goes with neither --origin nor --source")
    reason = " ".join(reason.split())
    if not reason:
        raise typer.BadParameter("--reason is empty: say why")
    from pipeline.data import project
    from pipeline.params.root import load_params
    from pipeline.takedown import takedown
    from pipeline.takedown.selection import Selector
    from pipeline.tracking.server import prepare_environment

    project.check_root()
    prepare_environment()
    report = takedown.remove(load_params(), Selector(tuple(sha256 or ()), origin, source), reason, dry_run=dry_run)
    print_result(report, takedown.describe(report), as_json=as_json)


@data_app.command("screen")
def screen(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what matches, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Screen what was ingested before by ingest.screens, as when a list has grown; take out what matches."""
    from pipeline.cli.screening import check_screened, open_screens
    from pipeline.core.errors import UserError
    from pipeline.data import project
    from pipeline.params.root import load_params
    from pipeline.takedown import rescreen
    from pipeline.tracking.server import prepare_environment
    from pipeline.web_ingest import ingest as web

    project.check_root()
    prepare_environment()
    params = load_params()
    screens = open_screens(params)
    if screens is None:
        raise UserError(
            "ingest.screens of params.yaml has no list and no hook: there is nothing to screen by. "
            "docs/screening.md shows how to name one."
        )
    report = rescreen.screen(params, screens, dry_run=dry_run)
    report["fetched"] = 0 if dry_run else web.screen_journals(screens)
    lines = rescreen.describe(report)
    if report["fetched"]:
        lines.append(f"{report['fetched']} contents of ingests that were cut short match, and were deleted there")
    print_result(report, lines, as_json=as_json)
    check_screened(len(report["unscreened"]))


@data_app.command("merge")
def merge(as_json: Json = False) -> None:
    """Merge data/ of two branches, when `git merge` stops at data.dvc: no batch, decision or report is lost."""
    from pipeline.data import merging, project

    project.check_root()
    merged = merging.merge()
    print_result(vars(merged), merged.lines(), as_json=as_json)


@data_app.command("gc")
def collect_garbage(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it. Without this, nothing is changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List it, and delete nothing: the default.")] = False,
    without_versions: Annotated[
        bool, typer.Option("--without-versions", help="Nothing is registered: go by branches and tags alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what nothing needs any more: caches, MLflow's bin and lost folders, DVC's objects. --delete deletes it.

    What a registered version, or the ledger, needs to be rebuilt stays. Exit 1 if a part had to be left out.
    """
    if delete and dry_run:
        raise typer.BadParameter("--delete and --dry-run exclude each other")
    from pipeline.cli.terminal import project_params
    from pipeline.data import project
    from pipeline.garbage import collection, parts

    project.check_root()
    collected = collection.collect(project_params(), delete=delete, without_versions=without_versions)
    document = parts.document(collected, deleted=delete)
    print_result(document, parts.lines(collected, deleted=delete), as_json=as_json)
    if document["problems"]:
        raise typer.Exit(1)
